"""Endless labelled streams: (seed, step) -> batch, random-access, with held-out sets. Knows no network."""

from richness.data.streams import TASKS, Task, task

__all__ = ["TASKS", "Task", "task"]
