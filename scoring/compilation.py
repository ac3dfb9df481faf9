"""How loops become machine code: one typed decorator over numba, and the only place that imports it.

Owns compilation, its cache and the types of arrays in signatures. Does not own any loop: each file of loops registers
its own by ``kernel``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, ParamSpec

import numba
import numpy as np
from llvmlite import ir
from numba import types as numba_types
from numba.core import cgutils as numba_cgutils
from numba.extending import intrinsic

P = ParamSpec("P")

types: Any = numba_types  # its NamedTuple is untyped
cgutils: Any = numba_cgutils  # untyped

F8, I8, U8 = types.float64, types.int64, types.uint64


def array(dtype: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    """The type of a contiguous array; a read-only one takes writable arrays too."""
    return types.Array(dtype, dimensions, "C", readonly=readonly)


IN_F8, IN_U8, IN_I4, IN_U1 = (array(kind, readonly=True) for kind in (F8, U8, types.int32, types.uint8))


class Kernel(Generic[P]):
    """One loop with one explicit signature: other dtypes, strides or layouts are refused, never converted."""

    def __init__(self, function: Callable[P, None], signature: tuple[Any, ...], *, allocates: bool) -> None:
        self.py_func = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.module = function.__module__
        self._signature = signature
        self._dispatcher = allocating_jit(function) if allocates else jit(function)
        self._ready = not hasattr(self._dispatcher, "compile")  # NUMBA_DISABLE_JIT leaves plain functions

    def compile(self) -> None:
        """Compile, or load from the cache on disk."""
        if not self._ready:
            self._dispatcher.compile(self._signature)
            self._dispatcher.disable_compile()
            self._ready = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run the compiled loop.

        Raises:
            TypeError: an argument has another dtype, number of dimensions or memory layout than the signature.
        """
        self.compile()
        self._dispatcher(*args, **kwargs)


KERNELS: Final[list[Kernel[Any]]] = []


def kernel(*signature: Any, allocates: bool = False) -> Callable[[Callable[P, None]], Kernel[P]]:
    """Make a loop a kernel with these argument types; one that allocates makes its parts by ``allocating_jit``."""

    def wrap(function: Callable[P, None]) -> Kernel[P]:
        made = Kernel(function, signature, allocates=allocates)
        KERNELS.append(made)
        return made

    return wrap


ENGINE: Final = (
    *("scoring.kernels", "scoring.ensemble_kernels", "scoring.tail", "scoring.forest"),
    *("scoring.masking", "scoring.templates", "scoring.seeds"),
)
"""Modules whose kernels the engine runs."""


def kernels_of(*modules: str) -> list[Kernel[Any]]:
    """The kernels that some modules register."""
    for module in modules:
        import_module(module)
    return [each for each in KERNELS if each.module in modules]


def compile_all(*modules: str) -> None:
    """Compile every kernel of some modules now, or load it from the cache."""
    for each in kernels_of(*modules):
        each.compile()


def cached(*modules: str) -> list[Kernel[Any]]:
    """The kernels of some modules that an earlier run left compiled on disk (then starting takes seconds, not a minute)."""
    return [
        each
        for each in kernels_of(*modules)
        if each._dispatcher.stats.cache_path and _has_index(each)  # noqa: SLF001  (the class above, same file)
    ]


def _has_index(each: Kernel[Any]) -> bool:
    folder = Path(each._dispatcher.stats.cache_path)  # noqa: SLF001  (the class above, same file)
    return any(folder.glob(f"{each.module.rpartition('.')[2]}.{each.__name__}-*.nbi"))


@cache
def _stamp(folder: Path) -> tuple[tuple[str, float, int], ...]:
    """Name, time and size of every source file of a folder."""
    files = [(path.name, path.stat()) for path in sorted(folder.glob("*.py"))]
    return tuple((name, found.st_mtime, found.st_size) for name, found in files)


def jit(function: Callable[..., Any]) -> Any:
    """A numba function that releases the GIL and is cached on disk where a folder for it can be written.

    fastmath stays off: it makes NaN checks lie. Reference counting is off too: whoever calls a kernel keeps its arrays
    alive, and each table handed to a part of a loop would cost two atomic counts an array (looking up a key took 58 ns
    with them, 3 ns without). So nothing can be allocated in it, not even by assigning to a slice.
    """
    return _compiled(function, _nrt=False)


def inlined(function: Callable[..., Any]) -> Any:
    """As ``jit``, for a part of a loop that takes many arrays: its code goes into its caller's.

    A call hands over seven words an array; reading JSON took twice as long while its parts were called. Python cannot
    call it, which saves a tenth of the time that compiling takes.
    """
    return _compiled(function, _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def allocating_jit(function: Callable[..., Any]) -> Any:
    """As ``jit``, for the rare part of a loop that needs NumPy's own algorithms and their memory."""
    return _compiled(function, _nrt=True)  # said aloud: a part takes over from its caller what it leaves open


def _compiled(function: Callable[..., Any], **more: bool) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder anywhere: compile anew in each process
        return numba.njit(**options)(function)
    if hasattr(made, "_cache"):
        # numba's cache asks only whether the function's own file has changed. A constant of the layout is compiled in
        # too, and code for another layout writes where it must not; so all files beside it count, and those here.
        folders = {Path(__file__).parent, Path(function.__code__.co_filename).parent}
        stamp = tuple(_stamp(folder) for folder in sorted(folders))
        made._cache._cache_file._source_stamp = stamp  # noqa: SLF001  (there is no public way)
    return made


def named(kind: Any, *fields: Any) -> Any:
    """The type of a NamedTuple of arrays or numbers."""
    return types.NamedTuple(list(fields), kind)


def record(dtype: Any, dimensions: int = 1) -> Any:
    """The type of a writable array of a structured dtype."""
    return array(numba.from_dtype(dtype), dimensions)


def _prefetch(_typing: Any, items: Any, _index: Any, _line: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, arguments[0])
        rest = [context.get_constant(types.intp, 0)] * (kind.ndim - 1)
        row = cgutils.get_item_pointer(context, builder, kind, view, [arguments[1], *rest])
        octets = builder.mul(arguments[2], context.get_constant(types.intp, 64))
        at = builder.gep(builder.bitcast(row, cgutils.voidptr_t), [octets])
        word = ir.IntType(32)
        hint = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word]),
            "llvm.prefetch.p0",
        )
        builder.call(hint, [at, word(1), word(3), word(1)])  # for writing, into all caches, as data
        return context.get_dummy_value()

    return types.void(items, types.intp, types.intp), generate


def _no_prefetch(_items: Any, _index: Any, _line: Any) -> None:
    return None


_COMPILES: Final = hasattr(jit(_no_prefetch), "compile")  # not so under NUMBA_DISABLE_JIT

prefetch: Any = intrinsic(_prefetch) if _COMPILES else _no_prefetch
"""``prefetch(items, index, line)`` in a kernel asks for a cache line of a row, so that a later access need not wait."""


def _word_place(context: Any, builder: Any, kind: Any, octets: Any, index: Any) -> Any:
    view = context.make_array(kind)(context, builder, octets)
    return builder.bitcast(builder.gep(view.data, [index]), ir.IntType(64).as_pointer())


def _load_word(_typing: Any, octets: Any, _index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _word_place(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.load(place, align=1)

    return types.uint64(octets, types.intp), generate


def _store_word(_typing: Any, octets: Any, _index: Any, _word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _word_place(context, builder, signature.args[0], arguments[0], arguments[1])
        builder.store(arguments[2], place, align=1)
        return context.get_dummy_value()

    return types.void(octets, types.intp, types.uint64), generate


def _zeros_below(_typing: Any, _word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _slow_load_word(octets: Any, index: Any) -> Any:
    return octets[index : index + 8].view(np.uint64)[0]


def _slow_store_word(octets: Any, index: Any, word: Any) -> None:
    octets[index : index + 8].view(np.uint64)[0] = word


def _slow_zeros_below(word: Any) -> int:
    return (int(word) & -int(word)).bit_length() - 1 if word else 64


load_word: Any = intrinsic(_load_word) if _COMPILES else _slow_load_word
"""``load_word(octets, index)`` in a kernel reads eight bytes at once, the first of them lowest.

Unaligned and unchecked: whoever calls it keeps ``index + 8`` within the array. Little-endian machines only, as everything
that Arrow's buffers go through here.
"""
store_word: Any = intrinsic(_store_word) if _COMPILES else _slow_store_word
"""``store_word(octets, index, word)`` writes eight bytes at once; as unchecked as ``load_word``."""
zeros_below: Any = intrinsic(_zeros_below) if _COMPILES else _slow_zeros_below
"""``zeros_below(word)``: how many zero bits stand below the lowest one (64 for 0)."""
