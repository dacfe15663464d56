"""A scene that shows in half a minute, with real parts, what the worker does and what becomes of everybody's money."""

from generation_worker.demo.run import run_demo

__all__ = ["run_demo"]
