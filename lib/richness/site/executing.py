"""Execute chapters two at a time, before Sphinx reads them: it then finds their outputs in the cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)

KERNELS = 2  # at a time; each takes a core and about 1 GB


def execute_chapters(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Execute those of the documents about to be read that are notebooks whose outputs are not in myst-nb's cache.

    It runs within Sphinx, so the kernels have the environment that myst-nb would give them.

    Raises:
        ExtensionError: if chapters failed; it names each, with its traceback. The others' outputs stay in the cache.
    """
    cache = get_cache(app.config.nb_execution_cache_path)
    paths = [Path(env.doc2path(name)) for name in docnames]
    new = [path for path in paths if path.suffix == ".ipynb" and not is_cached(cache, path)]
    failed = []
    pool = ThreadPoolExecutor(KERNELS)  # a thread only waits for its kernel
    try:
        for path, result in zip(
            new, pool.map(lambda path: execute(path, app.config.nb_execution_timeout), new), strict=True
        ):
            if result.err is None:
                logger.info("%s: executed in %.0f s", path.stem, result.time)
                bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            else:
                failed.append(f"{path.stem} failed:\n{result.exc_string}")
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        raise ExtensionError("\n".join(failed))


def is_cached(cache: JupyterCacheAbstract, path: Path) -> bool:
    """Whether the cache has outputs of these very cells."""
    try:
        cache.match_cache_notebook(nbformat.read(path, 4))
    except KeyError:
        return False
    return True


def execute(path: Path, timeout: int) -> ExecutionResult:
    """Execute one notebook in its own folder; a cell that raises or takes longer than `timeout` seconds is in the result."""
    return single_nb_execution(nbformat.read(path, 4), str(path.parent), timeout, allow_errors=False)
