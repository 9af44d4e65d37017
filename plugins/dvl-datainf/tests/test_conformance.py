from dvl_core.testing import conformance_test
from dvl_datainf import DataInfApproximator

test_datainf_conforms = conformance_test("inverse-hessian", DataInfApproximator)
