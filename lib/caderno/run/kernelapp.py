"""ipykernel's application as tasks have it: it starts fast, says whatever is printed, and ends without a deadlock."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any, ClassVar

from ipykernel import ipkernel
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.jsonutil import json_default

module_files: list[str] = []  # of the modules that a forked kernel begins with, told by its parent


class _FewModules:
    """Stands for `sys` where ipykernel would look at thousands of modules, and so copy their pages: 20 ms a kernel."""

    modules: ClassVar[dict[str, ModuleType]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


class KernelApp(IPKernelApp):
    """An ipykernel for one task."""

    def initialize(self, argv: list[str] | None = None) -> None:
        """Prepare to serve, with a history of its own: ~/.ipython's is the user's, and would show others' cells."""
        self.config.HistoryManager.hist_file = ":memory:"
        super().initialize(argv)  # type: ignore[no-untyped-call]  # ipykernel has few types

    def start(self) -> None:
        """Serve; then let the control thread end, before the thread is taken down by which it may be flushing."""
        super().start()  # type: ignore[no-untyped-call]
        if self.control_thread and self.control_thread.is_alive():
            self.control_thread.stop()
            self.control_thread.join()

    def init_kernel(self) -> None:
        """Make the kernel, which asks each module for its file, unless the parent has asked them all."""
        if not module_files:
            super().init_kernel()  # type: ignore[no-untyped-call]
            return
        vars(ipkernel)["sys"] = _FewModules()
        super().init_kernel()  # type: ignore[no-untyped-call]
        vars(ipkernel)["sys"] = sys
        if debugger := getattr(self.kernel, "debugger", None):
            debugger.kernel_modules = module_files

    def init_sockets(self) -> None:
        """Send text with half a surrogate pair too: what fails to be packed takes the cell's end with it."""
        super().init_sockets()  # type: ignore[no-untyped-call]
        pack = self.session.pack

        def packed(content: Any) -> bytes:
            try:
                return bytes(pack(content))
            except UnicodeEncodeError:
                return json.dumps(content, default=json_default).encode()  # as escapes, which are ASCII

        self.session.pack = packed
