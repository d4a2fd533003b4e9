"""Builds the native kernels while the package is built, where cargo is at hand; otherwise numpy takes
their place.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = {"darwin": "libbowstring_native.dylib", "win32": "bowstring_native.dll"}.get(
    sys.platform, "libbowstring_native.so"
)


class NativeKernels(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        cargo = shutil.which("cargo")
        if self.target_name != "wheel":
            return
        if cargo is None:
            self.app.display_warning(
                "cargo is not on this machine: the kernels are left out, numpy takes their place"
            )
            return
        root = Path(self.root)
        command = [
            cargo,
            "build",
            "--release",
            "--offline",
            "--manifest-path",
            str(root / "native" / "Cargo.toml"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            self.app.display_warning(
                f"the kernels did not build, numpy takes their place:\n{done.stderr[-2000:]}"
            )
            return
        library = root / "src" / "bowstring" / NAME
        shutil.copy2(root / "native" / "target" / "release" / NAME, library)
        build_data["force_include"][str(library)] = f"bowstring/{NAME}"
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
