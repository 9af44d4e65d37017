"""What each side of a benchmark does with the same arrays: floor (plain loops), dvl, pyDVL."""
