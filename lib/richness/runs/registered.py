"""A reader's own networks, tasks, losses, optimisers and so on, on their way to another process.

A worker that was spawned, or that runs on another machine, knows only what the package ships. So the driver packs what an
experiment names and the package does not know, with each piece of work, and the worker takes it in before it reads the recipe.
Functions from a module that can be imported travel by its name (the worker imports it); those of a notebook or a script
travel whole. Nothing of this is ever written to a file.
"""

from __future__ import annotations

from richness.runs.experiment import REGISTRIES, Experiment


def pack_registered(experiment: Experiment) -> bytes:
    """What of an experiment a reader has registered; empty where there is nothing.

    Raises:
        ValueError: one of the functions cannot travel, since it holds on to something that cannot; the message says which.
    """
    if not experiment.registered:
        return b""
    import cloudpickle  # only needed here

    things = []
    for key in experiment.registered:
        kind, name = key.split(" ")
        things.append((kind, name, REGISTRIES[kind].export(name)))
        try:
            cloudpickle.dumps(things[-1])
        except Exception as error:
            raise ValueError(
                f"the {kind} {name!r} cannot be sent to another process ({type(error).__name__}: {error}): let its function "
                "hold on to no open file, lock or generator, or sweep without an executor"
            ) from error
    return cloudpickle.dumps(things)


def unpack_registered(parcel: bytes) -> None:
    """Take in what another process has packed; what is here already, with the same fingerprint, stays.

    Raises:
        ModuleNotFoundError: a function comes from a module that this process cannot import; the message says what to do.
    """
    if not parcel:
        return
    import cloudpickle

    try:
        things = cloudpickle.loads(parcel)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a worker cannot import {error.name!r}, where something registered was written: "
            "install that module for the workers, or write the function in the notebook or script itself"
        ) from error
    for kind, name, exported in things:
        if REGISTRIES[kind].fingerprint(name) != exported[1]:
            REGISTRIES[kind].bring(name, exported)
