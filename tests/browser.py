"""A headless browser for tests: Chromium as Debian builds it, driven by Playwright."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from playwright.async_api import async_playwright

from tests.programs import UNPACKED, environment, program

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from playwright.async_api import Browser

_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{root}/usr/share/fonts</dir><dir>/usr/share/fonts</dir>
<cachedir>{cache}</cachedir></fontconfig>
"""


@asynccontextmanager
async def browser(folder: Path) -> AsyncGenerator[Browser]:
    """Start a browser; what it needs to remember it puts into `folder`."""
    fonts = folder / "fonts.conf"
    fonts.write_text(_FONTS.format(root=UNPACKED, cache=folder / "fonts"))
    environ: dict[str, Any] = {**environment(), "FONTCONFIG_FILE": str(fonts), "HOME": str(folder)}
    # Some libraries lie in folders of their own, which the loader is told of at installation.
    inner = [str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu/pulseaudio")]
    environ["LD_LIBRARY_PATH"] = ":".join([environ["LD_LIBRARY_PATH"], *inner])
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=_executable(),
            args=["--no-sandbox", "--disable-gpu"],
            env=environ,
        )
        try:
            yield started
        finally:
            await started.close()


def _executable() -> str:
    # The command itself is a script that looks for the program at its place of installation.
    unpacked = UNPACKED / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    return str(unpacked) if unpacked.exists() else program("chromium-headless-shell")
