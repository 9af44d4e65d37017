"""Digests of content: equal for equal content, in every process, whatever the addresses.

``joblib.hash`` is near, but takes a function by its name, so that an edited one keeps its digest,
and refuses those that cannot be imported. Here functions and classes that are not of an installed
distribution count by their code and all that it refers to; installed ones by name and version.
"""

from __future__ import annotations

import builtins
import copyreg
import dis
import hashlib
import inspect
import struct
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

import numpy as np
from scipy import sparse

from dvl_core.chunked import byte_parts, is_chunked
from dvl_core.installed import installed_version, source_of
from dvl_core.tabular import is_frame
from dvl_core.tensors import raw_array

__all__ = ["UndigestibleError", "digest"]

_IGNORED_MEMBERS = frozenset({"__annotate_func__", "__annotate__", "__dict__", "__weakref__"})


class UndigestibleError(TypeError):
    """Something whose content cannot be told: a lock, an open file, a compiled stranger."""


def digest(*values: object) -> str:
    """Return the digest of the content of `values`, as 32 hexadecimal digits.

    Parameters
    ----------
    *values : object
        Numbers, texts, containers, arrays, frames, sparse matrices, estimators (by their
        parameters), functions and classes (by their code), anything that can be pickled.

    Raises
    ------
    UndigestibleError
        If the content of something cannot be told.

    Examples
    --------
    >>> digest({"a": 1, "b": {2, 3}}) == digest({"b": {3, 2}, "a": 1})
    True
    >>> digest(1) == digest(1.0)
    False
    """
    try:
        return _Digester()(values).hex()
    except RecursionError as error:
        raise UndigestibleError("it is nested too deeply") from error


class _Digester:
    """One traversal: remembers what it has seen, so that shared parts cost once and cycles end."""

    def __init__(self) -> None:
        # The objects are kept with their digests: an address must not be reused meanwhile.
        self._seen: dict[tuple[int, bool], tuple[bytes, object]] = {}
        self._active: dict[int, int] = {}
        self._with_state = False

    def __call__(self, value: object) -> bytes:
        leaf = _leaf(value)
        if leaf is not None:
            return leaf
        key = (id(value), self._with_state)
        if key in self._seen:
            return self._seen[key][0]
        if id(value) in self._active:
            return _hash("cycle", str(len(self._active) - self._active[id(value)]).encode())
        self._active[id(value)] = len(self._active)
        try:
            result = self._composite(value)
        finally:
            del self._active[id(value)]
        self._seen[key] = (result, value)
        return result

    def _composite(self, value: Any) -> bytes:
        """Return the digest of anything that is not a leaf."""
        handler = _HANDLERS.get(type(value))
        if handler is not None:
            return handler(self, value)
        if isinstance(value, np.ndarray) or is_chunked(value):
            return self._array(value)
        if sparse.issparse(value):
            return self._sparse(value)
        if isinstance(value, type):
            return self._class(value)
        if is_frame(value):
            return self._frame(value)
        if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
            return self._tensor(value)
        if hasattr(value, "get_params") and not self._with_state:
            return self._estimator(value)
        return self._reduced(value)

    def _parts(self, tag: str, parts: Iterable[object]) -> bytes:
        return _hash(tag, *[self(part) for part in parts])

    def _sequence(self, value: list[object] | tuple[object, ...]) -> bytes:
        return self._parts(type(value).__name__, value)

    def _set(self, value: set[object] | frozenset[object]) -> bytes:
        return _hash(type(value).__name__, *sorted(self(item) for item in value))

    def _mapping(self, value: Mapping[object, object]) -> bytes:
        pairs = sorted((self(key), self(item)) for key, item in value.items())
        return _hash("dict", *[part for pair in pairs for part in pair])

    def _array(self, value: Any) -> bytes:
        shape = repr(value.shape).encode()
        if value.dtype.hasobject:
            return _hash("objects", shape, self._objects(np.asarray(value).ravel().tolist()))
        if value.dtype.names is not None:
            # Field by field: the padding between them holds anything.
            fields = {name: np.ascontiguousarray(value[name]) for name in value.dtype.names}
            return _hash("record", shape, self(fields))
        # One at a time: together the parts may be larger than memory.
        return _hash_all("array", chain([value.dtype.str.encode(), shape], byte_parts(value)))

    def _objects(self, items: list[object]) -> bytes:
        """Return the digest of many small objects; texts, the common case, in one piece."""
        if items and all(type(item) is str for item in items):
            texts = [cast(str, item).encode("utf-8", "surrogatepass") for item in items]
            lengths = np.array([len(text) for text in texts], dtype="<i8")
            return _hash("texts", lengths.tobytes(), b"".join(texts))
        return _hash("items", *[self(item) for item in items])

    def _tensor(self, value: Any) -> bytes:
        """Return the digest of class, type and numbers, whatever the device."""
        try:
            content = raw_array(value)
        except (TypeError, RuntimeError) as error:
            raise UndigestibleError(f"a tensor cannot be read: {error}") from error
        kind = [str(getattr(value, name, "")) for name in ("dtype", "shape")]
        return self._parts("tensor", [type(value), kind, content])

    def _sparse(self, value: Any) -> bytes:
        matrix = value.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        ends, columns = matrix.indptr.astype("<i8"), matrix.indices.astype("<i8")
        return self._parts("sparse", [type(value), matrix.shape, ends, columns, matrix.data])

    def _frame(self, value: Any) -> bytes:
        columns = [self._column(value.iloc[:, i]) for i in range(value.shape[1])]
        return _hash("frame", self(list(value.columns)), self(value.shape), *columns)

    def _column(self, column: Any) -> bytes:
        kind = str(column.dtype).encode()
        if kind == b"category":
            levels = self._objects(column.cat.categories.tolist())
            codes = column.cat.codes.to_numpy().astype("<i8")
            return _hash("category", levels, self(bool(column.cat.ordered)), self(codes))
        if isinstance(column.dtype, np.dtype):
            return _hash("column", kind, self._array(column.to_numpy()))
        gaps = column.isna().to_numpy()
        filled = ["" if gap else item for gap, item in zip(gaps, column.tolist(), strict=True)]
        return _hash("column", kind, gaps.tobytes(), self._objects(filled))

    def _estimator(self, value: Any) -> bytes:
        """Return the digest of class and parameters: what fitting made of it does not count."""
        clone = getattr(type(value), "__sklearn_clone__", None)
        if clone is not None and clone.__module__ != "sklearn.base":
            # It decides what a clone keeps (a frozen estimator: its fitted state).
            self._with_state = True
            try:
                return self._reduced(value)
            finally:
                self._with_state = False
        return self._parts("estimator", [type(value), value.get_params(deep=False)])

    def _reduced(self, value: Any) -> bytes:
        """Return the digest of what a pickle of the object would hold."""
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None and callable(value):
            return self._parts("wrapper", [type(value), wrapped])
        reducer = copyreg.dispatch_table.get(type(value))
        try:
            parts = reducer(value) if reducer else value.__reduce_ex__(4)
        except (MemoryError, UndigestibleError):
            raise
        except Exception as error:
            raise UndigestibleError(f"a {type(value).__name__} cannot be read: {error}") from error
        if isinstance(parts, str):
            return self._global(value, parts)
        lists = [list(part) if isinstance(part, Iterator) else part for part in parts]
        return self._parts("object", lists)

    def _global(self, value: Any, name: str) -> bytes:
        """Return the digest of something known by its name in an installed module."""
        module = getattr(value, "__module__", None) or type(value).__module__
        version = installed_version(module)
        if version is None:
            raise UndigestibleError(f"{module}.{name} is of no installed distribution")
        return _hash("global", module.encode(), name.encode(), version.encode())

    def _module(self, value: types.ModuleType) -> bytes:
        version = installed_version(value.__name__)
        if version is not None:
            return _hash("module", value.__name__.encode(), version.encode())
        return _hash("module", source_of(value, UndigestibleError))

    def _class(self, value: type) -> bytes:
        version = installed_version(value.__module__)
        if version is not None:
            name = f"{value.__module__}.{value.__qualname__}:{version}"
            return _hash("class", name.encode())
        members = {
            name: member for name, member in vars(value).items() if _is_content(name, member)
        }
        return self._parts("own class", [value.__qualname__, value.__bases__, members])

    def _function(self, value: types.FunctionType) -> bytes:
        version = installed_version(value.__module__ or "")
        if version is not None and "<" not in value.__qualname__:
            return self._global(value, value.__qualname__)
        # The globals of an installed module are told by its version.
        names = () if version is not None else _global_names(value.__code__)
        scope = {name: value.__globals__[name] for name in names if name in value.__globals__}
        unknown = [n for n in names if n not in scope and not hasattr(builtins, n)]
        cells = [_cell_content(cell) for cell in value.__closure__ or ()]
        defaults = [value.__defaults__, value.__kwdefaults__]
        return self._parts(
            "function", [version, value.__code__, defaults, cells, scope, sorted(unknown)]
        )

    def _code(self, value: types.CodeType) -> bytes:
        counts = (
            value.co_argcount,
            value.co_posonlyargcount,
            value.co_kwonlyargcount,
            value.co_flags,
        )
        names = (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
        # Names of files and line numbers do not count: moving a function changes nothing.
        return self._parts(
            "code", [value.co_code, value.co_exceptiontable, counts, names, value.co_consts]
        )

    def _method(self, value: types.MethodType) -> bytes:
        return self._parts("method", [value.__self__, value.__func__])

    def _descriptor(self, value: Any) -> bytes:
        return self._parts(type(value).__name__, [value.__func__])

    def _property(self, value: property) -> bytes:
        return self._parts("property", [value.fget, value.fset, value.fdel])


_HANDLERS: dict[type, Callable[[_Digester, Any], bytes]] = {
    list: _Digester._sequence,
    tuple: _Digester._sequence,
    set: _Digester._set,
    frozenset: _Digester._set,
    dict: _Digester._mapping,
    types.MappingProxyType: _Digester._mapping,
    np.ndarray: _Digester._array,
    types.ModuleType: _Digester._module,
    types.FunctionType: _Digester._function,
    types.CodeType: _Digester._code,
    types.MethodType: _Digester._method,
    staticmethod: _Digester._descriptor,
    classmethod: _Digester._descriptor,
    property: _Digester._property,
}


def _hash(tag: str, *parts: bytes | memoryview) -> bytes:
    """Return the digest of parts whose borders count."""
    return _hash_all(tag, parts)


def _hash_all(tag: str, parts: Iterable[bytes | memoryview]) -> bytes:
    """Return the digest of parts whose borders count, each of which is used when it comes."""
    state = hashlib.blake2b(tag.encode(), digest_size=16)
    for part in parts:
        state.update(struct.pack("<q", memoryview(part).nbytes))
        state.update(part)
    return state.digest()


def _leaf(value: object) -> bytes | None:
    """Return the digest of a plain value; None if `value` is not one."""
    kind = type(value)
    if value is None or kind is bool or kind is int or value is Ellipsis:
        return _hash(kind.__name__, repr(value).encode())
    if kind is str:
        return _hash("str", cast(str, value).encode("utf-8", "surrogatepass"))
    if kind is float:
        return _hash("float", struct.pack("<d", value))
    if kind is bytes:
        return _hash("bytes", cast(bytes, value))
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return _hash("scalar", value.dtype.str.encode(), value.tobytes())
    return None


def _cell_content(cell: types.CellType) -> object:
    """Return what a closure holds in a cell."""
    try:
        return ("cell", cell.cell_contents)
    except ValueError:
        return ("empty cell",)


def _global_names(code: types.CodeType) -> list[str]:
    """Return the global names that code, and the code inside it, reads."""
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        # __name__ and __file__ say where code lies, not what it does.
        and not instruction.argval.startswith("__")
    }
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_global_names(constant))
    return sorted(names)


def _is_content(name: str, member: object) -> bool:
    """Return whether a member of a class is code or data of its author."""
    if name in _IGNORED_MEMBERS or name.startswith("_abc_"):
        return False
    if name.startswith("__") and name.endswith("__"):
        return isinstance(member, types.FunctionType | staticmethod | classmethod | property)
    return not inspect.ismemberdescriptor(member)
