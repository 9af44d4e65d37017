from __future__ import annotations

import sys

import pytest

import dvl_core
from dvl_core import errors
from dvl_core.known_plugins import KNOWN_PLUGINS
from dvl_core.registry import (
    KINDS,
    ComponentRef,
    Registry,
    create,
    get,
    list_plugins,
    override,
    refresh,
    register,
    registry,
)

SAMPLER = """
class Mine:
    '''Draws.'''

    def __init__(self, *, size: int = 3):
        if size < 0:
            raise ValueError("size must not be negative")
        self.size = size

    def design(self, n_players, semivalue):
        return None


class Other(Mine):
    pass
"""
MINE = {"dvl.samplers": {"mine": "fake_mine:Mine"}}


class Here:
    def design(self, n_players, semivalue):
        return None


class StoreWithoutPut:
    def get(self, keys):
        return None

    def close(self):
        return None


class StoreOfNothing(StoreWithoutPut):
    def put(self, keys, values):
        return None

    def __len__(self):
        return 0


class ScorerByAttribute:
    def __init__(self, default=0.0):
        self.default = default

    def __call__(self, model):
        return 0.0


@pytest.fixture(autouse=True)
def _no_registrations_stay():
    current = registry()
    before = dict(current._registered)
    yield
    current._registered.clear()
    current._registered.update(before)
    refresh()


def ref_of(name: str, distribution: str | None = None) -> ComponentRef:
    refs = [ref for ref in list_plugins() if ref.name == name]
    refs = [ref for ref in refs if distribution in (None, ref.distribution)]
    assert len(refs) == 1
    return refs[0]


def test_list_is_read_from_metadata_alone(fake_distribution):
    fake_distribution("fake-mine", version="2.5", entry_points=MINE, modules={"fake_mine": SAMPLER})
    ref = ref_of("mine")
    fields = ref.kind, ref.name, ref.status, ref.reason, ref.distribution, ref.version, ref.target
    assert fields == ("sampler", "mine", "ok", "", "fake-mine", "2.5", "fake_mine:Mine")
    assert "fake_mine" not in sys.modules
    assert ref.load() is sys.modules["fake_mine"].Mine
    assert get("sampler", "mine") is ref.load()


def test_list_filters_and_sorts(fake_distribution):
    groups = {
        "dvl.samplers": {"z": "fake_mine:Mine", "a": "fake_mine:Mine"},
        "dvl.inverse_hessians": {"q": "fake_mine:Mine"},
        "dvl.unheard_of": {"x": "fake_mine:Mine"},
    }
    fake_distribution("fake-mine", entry_points=groups, modules={"fake_mine": SAMPLER})
    samplers = [ref.name for ref in list_plugins("sampler")]
    assert samplers == sorted(samplers)
    assert {"a", "z", "uniform"} <= set(samplers)
    assert "q" in [ref.name for ref in list_plugins("inverse-hessian")]
    every = [KINDS.index(ref.kind) for ref in list_plugins()]
    assert every == sorted(every)
    with pytest.raises(errors.UnknownComponentError, match="did you mean 'sampler'"):
        list_plugins("samplers")


def test_requirements_decide_before_any_import(fake_distribution):
    for name, requirement in {
        "missing": "surely-not-installed>=1",
        "newer": "dvl-core>=99",
        "unreadable": "!!",
        "fine": "dvl-core>=0.1.dev0",
    }.items():
        fake_distribution(
            f"fake-{name}",
            requires=[requirement],
            entry_points={"dvl.samplers": {name: f"fake_{name}:Mine"}},
            modules={f"fake_{name}": "raise RuntimeError('imported')"},
        )
    assert (ref_of("missing").status, ref_of("newer").status) == (
        "missing-dependency",
        "incompatible",
    )
    assert (ref_of("unreadable").status, ref_of("fine").status) == ("broken", "ok")
    with pytest.raises(errors.MissingDependencyError, match="needs surely-not-installed>=1"):
        get("sampler", "missing")
    with pytest.raises(errors.IncompatibleComponentError, match="needs dvl-core>=99"):
        get("sampler", "newer")
    with pytest.raises(errors.PluginLoadError, match="requirement '!!' cannot be read"):
        get("sampler", "unreadable")
    assert not {"fake_missing", "fake_newer", "fake_unreadable", "fake_fine"} & set(sys.modules)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("", "not of the form"),
        ("fake mine:Mine", "not of the form"),
        ("fake_mine:", "not of the form"),
        ("fake_mine", "names no class"),
        ("no_such_module.sub:Mine", "module 'no_such_module' cannot be found"),
    ],
)
def test_targets_that_cannot_work_are_broken_in_a_plain_listing(fake_distribution, target, reason):
    entry = {"dvl.samplers": {"bad": target, "good": "fake_mine:Mine"}}
    fake_distribution("fake-mine", entry_points=entry, modules={"fake_mine": SAMPLER})
    assert ref_of("bad").status == "broken"
    assert reason in ref_of("bad").reason
    assert ref_of("good").status == "ok"
    with pytest.raises(errors.PluginLoadError, match="bad"):
        get("sampler", "bad")


def test_metadata_that_cannot_be_read_hurts_nobody_else(fake_distribution):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    fake_distribution(
        "fake-odd", entry_points="stray\n[dvl.samplers]\nno equals sign\n# note\nodd = fake_mine:M"
    )
    fake_distribution("fake-version", version="one", entry_points=MINE | {"dvl.x": {"a": "b"}})
    site = fake_distribution("fake-binary")
    (site / "fake_binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"[dvl.samplers]\n\xff")
    nameless = site / "nameless-1.0.dist-info"
    nameless.mkdir()
    nameless.joinpath("entry_points.txt").write_text("[dvl.samplers]\nlost = fake_mine:Mine\n")
    refresh()
    assert ref_of("no equals sign").status == "broken"
    assert ref_of("odd").status == "ok"
    assert ref_of("mine", "fake-version").version == "one"
    assert ref_of("lost").status == "broken"
    assert get("sampler", "fake-mine:mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import surely_not_installed", "No module named 'surely_not_installed'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("", "module 'fake_mine' has no 'Mine'"),
        ("def x(:", "SyntaxError"),
    ],
)
def test_a_failing_import_names_plugin_target_and_cause(fake_distribution, source, message):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": source})
    assert ref_of("mine").status == "ok"
    with pytest.raises(errors.PluginLoadError) as caught:
        get("sampler", "mine")
    assert caught.value.__cause__ is not None
    for part in ("sampler 'mine'", "fake-mine", "fake_mine:Mine", message):
        assert part in str(caught.value)
    assert ref_of("mine").status == "broken"
    assert message in ref_of("mine").reason
    with pytest.raises(errors.PluginLoadError):
        ref_of("mine").load()


def test_a_repaired_plugin_loads_without_a_new_process(fake_distribution):
    site = fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": "1 / 0"})
    with pytest.raises(errors.PluginLoadError):
        get("sampler", "mine")
    (site / "fake_mine.py").write_text(SAMPLER)
    refresh()
    assert get("sampler", "mine").__name__ == "Mine"
    assert ref_of("mine").status == "ok"


def test_missing_members_of_the_protocol_are_named(fake_distribution):
    source = """
    class Half:
        def get(self, keys): ...
        def close(self): ...
    NUMBER = 3
    """
    entry = {"dvl.stores": {"half": "fake_half:Half", "number": "fake_half:NUMBER"}}
    fake_distribution("fake-half", entry_points=entry, modules={"fake_half": source})
    with pytest.raises(errors.PluginLoadError, match="is no Store: it lacks put, __len__ "):
        get("store", "half")
    with pytest.raises(errors.PluginLoadError, match="is a int, not a class or a factory"):
        get("store", "number")


def test_instances_are_checked_for_what_only_they_can_have():
    with override("scorer", "attribute", ScorerByAttribute):
        assert create("scorer", "attribute", default=0.5).default == 0.5

    class NoDefault:
        def __call__(self, model):
            return 0.0

    with (
        override("scorer", "no-default", NoDefault),
        pytest.raises(errors.PluginLoadError, match="lacks default"),
    ):
        create("scorer", "no-default")


def test_the_product_of_a_factory_is_checked():
    with override("store", "made", lambda: StoreOfNothing()):
        assert isinstance(create("store", "made"), StoreOfNothing)
    with (
        override("store", "made", lambda: StoreWithoutPut()),
        pytest.raises(errors.PluginLoadError, match="lacks put, __len__"),
    ):
        create("store", "made")


def two_of_a_name(fake_distribution) -> None:
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    fake_distribution(
        "fake-other",
        entry_points={"dvl.samplers": {"mine": "fake_other:Other"}},
        modules={"fake_other": SAMPLER},
    )


def test_no_silent_winner(fake_distribution):
    two_of_a_name(fake_distribution)
    for distribution in ("fake-mine", "fake-other"):
        ref = ref_of("mine", distribution)
        assert ref.status == "ambiguous"
        assert "fake-mine and fake-other" in ref.reason
        assert "'fake-mine:mine' or 'fake-other:mine'" in ref.reason
    with pytest.raises(errors.AmbiguousComponentError, match="fake-mine and fake-other"):
        get("sampler", "mine")
    assert get("sampler", "fake-other:mine").__name__ == "Other"
    assert get("sampler", "Fake_Mine:mine").__name__ == "Mine"
    assert ref_of("mine", "fake-other").load().__name__ == "Other"
    assert create("sampler", {"name": "fake-other:mine", "size": 7}).size == 7


def test_only_usable_components_compete(fake_distribution, monkeypatch):
    two_of_a_name(fake_distribution)
    monkeypatch.setenv("DVL_DISABLE_PLUGINS", "fake-mine")
    assert ref_of("mine", "fake-other").status == "ok"
    assert get("sampler", "mine").__name__ == "Other"


def test_a_component_that_failed_to_load_competes_no_more(fake_distribution):
    two_of_a_name(fake_distribution)
    fake_distribution(
        "fake-third",
        entry_points={"dvl.samplers": {"solo": "fake_third:A"}},
        modules={"fake_third": "1 / 0"},
    )
    fake_distribution("fake-fourth", entry_points={"dvl.samplers": {"solo": "fake_mine:Mine"}})
    with pytest.raises(errors.PluginLoadError):
        get("sampler", "fake-third:solo")
    assert ref_of("solo", "fake-fourth").status == "ok"
    assert get("sampler", "solo").__name__ == "Mine"


def test_two_copies_of_a_distribution_are_one(fake_distribution):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    fake_distribution(
        "Fake_Mine", folder="first", version="2", entry_points=MINE, modules={"fake_mine": SAMPLER}
    )
    assert ref_of("mine").version == "2"
    assert ref_of("mine").status == "ok"


def test_a_name_that_one_distribution_declares_twice_is_shown(fake_distribution):
    text = "[dvl.samplers]\nmine = fake_mine:Mine\nmine = fake_mine:Other\n"
    fake_distribution("fake-mine", entry_points=text, modules={"fake_mine": SAMPLER})
    refs = [ref for ref in list_plugins("sampler") if ref.name == "mine"]
    assert sorted(ref.status for ref in refs) == ["broken", "ok"]
    assert get("sampler", "mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("DVL_DISABLE_PLUGINS", "fake-mine", "disabled"),
        ("DVL_DISABLE_PLUGINS", "x, Fake_Mine", "disabled"),
        ("DVL_DISABLE_PLUGINS", "", "ok"),
        ("DVL_DISABLE_PLUGINS", "dvl-core", "ok"),
        ("DVL_PLUGINS", "", "disabled"),
        ("DVL_PLUGINS", "other", "disabled"),
        ("DVL_PLUGINS", "other,fake.mine", "ok"),
    ],
)
def test_environment_variables_count_at_once(
    fake_distribution, monkeypatch, variable, value, status
):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    assert ref_of("mine").status == "ok"
    monkeypatch.setenv(variable, value)
    assert ref_of("mine").status == status
    assert ref_of("uniform").status == "ok"
    if status == "disabled":
        assert variable in ref_of("mine").reason
        with pytest.raises(errors.UnknownComponentError, match=f"is disabled: {variable}"):
            get("sampler", "mine")
    monkeypatch.delenv(variable)
    assert ref_of("mine").status == "ok"


def test_unknown_names_suggest_and_list():
    with pytest.raises(errors.UnknownComponentError) as caught:
        get("sampler", "unifrom")
    assert "did you mean 'uniform'?" in str(caught.value)
    assert "all-permutations, all-subsets, antithetic" in str(caught.value)
    assert len(caught.value.args) == 1
    with pytest.raises(errors.UnknownComponentError, match="comes from dvl-core"):
        get("sampler", "nobody:uniform")


def test_known_plugins_come_with_the_command_that_installs_them():
    empty = Registry()
    for (kind, name), distribution in KNOWN_PLUGINS.items():
        with pytest.raises(errors.UnknownComponentError) as caught:
            empty.get(kind, name)
        assert f"pip install {distribution}" in str(caught.value)
        assert caught.value.args[1] == f"pip install {distribution}"
    with pytest.raises(errors.UnknownComponentError, match=r"'data-oob' \(pip install dvl-oob\)"):
        empty.get("valuation", "data_obb")


def test_known_plugins_are_sorted_and_of_known_kinds():
    assert list(KNOWN_PLUGINS) == sorted(KNOWN_PLUGINS)
    assert {kind for kind, _ in KNOWN_PLUGINS} <= set(KINDS)


def test_register_in_process(fake_distribution):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    register("sampler", "here", Here)
    assert get("sampler", "here") is Here
    assert get("sampler", "in-process:here") is Here
    assert ref_of("here").distribution == "in-process"
    register("sampler", "here", Here)
    register("sampler", "by-target", "fake_mine:Other")
    assert "fake_mine" not in sys.modules
    assert get("sampler", "by-target").__name__ == "Other"
    with pytest.raises(errors.AmbiguousComponentError, match="already provided by fake-mine"):
        register("sampler", "mine", Here)
    register("sampler", "mine", Here, replace=True)
    assert get("sampler", "mine") is Here
    assert get("sampler", "fake-mine:mine").__name__ == "Mine"
    assert ref_of("mine", "fake-mine").status == "disabled"


def test_registrations_survive_a_new_environment(monkeypatch, tmp_path):
    register("sampler", "here", Here)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert get("sampler", "here") is Here
    refresh()
    assert get("sampler", "here") is Here


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("a:b", Here, "has no colon"),
        ("", Here, "cannot name"),
        ("x", "no target", "not of the form"),
        ("x", "module", "names no class"),
        ("x", 3, "neither a class nor a target"),
    ],
)
def test_register_refuses_what_cannot_work(name, target, message):
    with pytest.raises(errors.InvalidOptionError, match=message):
        register("sampler", name, target)


def test_override_ends_with_its_block():
    class PassingError(RuntimeError):
        pass

    original = get("sampler", "uniform")
    with override("sampler", "uniform", Here):
        assert get("sampler", "uniform") is Here
        with override("sampler", "uniform", "dvl_core.samplers:LOOSampler"):
            assert get("sampler", "uniform").__name__ == "LOOSampler"
        assert get("sampler", "uniform") is Here
    assert get("sampler", "uniform") is original
    with pytest.raises(PassingError), override("sampler", "uniform", Here):
        raise PassingError
    assert get("sampler", "uniform") is original


def test_override_ends_even_if_the_environment_changed_within(monkeypatch, tmp_path):
    with override("sampler", "here", Here):
        monkeypatch.syspath_prepend(str(tmp_path))
        assert get("sampler", "here") is Here
    with pytest.raises(errors.UnknownComponentError):
        get("sampler", "here")


def test_create_takes_names_mappings_and_ready_objects(fake_distribution):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    assert create("sampler", "mine").size == 3
    assert create("sampler", "mine", size=5).size == 5
    assert create("sampler", {"name": "mine", "size": 4}).size == 4
    ready = Here()
    assert create("sampler", ready) is ready
    assert dvl_core.create("sampler", ready) is ready


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mine", {"sise": 1}, "sampler 'mine' of fake-mine has no option 'sise'.*mean 'size'"),
        ({"name": "mine", "size": 1}, {"size": 2}, "'size' of sampler 'mine' is given twice"),
        ({"size": 1}, {}, "needs its name"),
        ("mine", {"size": -1}, "sampler 'mine' of fake-mine: size must not be negative"),
        (Here(), {"size": 1}, "ready Here: it takes no options"),
        (Here, {}, "Here is a class; pass an instance"),
        (None, {}, "no sampler was given"),
    ],
)
def test_create_names_component_and_option(fake_distribution, spec, options, message):
    fake_distribution("fake-mine", entry_points=MINE, modules={"fake_mine": SAMPLER})
    with pytest.raises(errors.InvalidOptionError, match=message):
        create("sampler", spec, **options)


VALUATION = """
class Method:
    def __init__(self, utility, sampler=None, *, backend: str = "loky", alpha: float = 4):
        self.utility, self.sampler, self.backend, self.alpha = utility, sampler, backend, alpha

    result = None

    def fit(self, train=None):
        return self

    def values(self, sort=False):
        return None


class Needy(Method):
    def __init__(self):
        import surely_not_installed
"""


@pytest.fixture
def methods(fake_distribution):
    entry = {"dvl.valuations": {"method": "fake_method:Method", "needy": "fake_method:Needy"}}
    fake_distribution("fake-method", entry_points=entry, modules={"fake_method": VALUATION})


@pytest.mark.usefixtures("methods")
def test_create_assembles_parts_by_parameter_name():
    method = create("valuation", "method", utility=3, sampler="uniform", backend="serial", alpha=1)
    assert type(method.sampler) is get("sampler", "uniform")
    assert (method.utility, method.backend, method.alpha) == (3, "serial", 1)
    method = create("valuation", "method", utility=3, sampler={"name": "loo"})
    assert type(method.sampler) is get("sampler", "loo")
    with pytest.raises(errors.InvalidOptionError, match="needs utility"):
        create("valuation", "method")
    with pytest.raises(errors.UnknownComponentError, match="unknown sampler 'lo'"):
        create("valuation", "method", utility=3, sampler="lo")


@pytest.mark.usefixtures("methods")
def test_a_package_missing_at_construction_is_a_missing_dependency():
    with pytest.raises(errors.MissingDependencyError, match=r"'needy'.*surely_not_installed"):
        create("valuation", "needy")
