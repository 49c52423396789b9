"""WebKitGTK, Safari's engine, driven by its WebDriver on a screen of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Remote
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

from tests.e2e.browsers.tab import POLL_SECONDS
from tests.patience import PATIENCE

T = TypeVar("T")

DRIVER: Final = "WebKitWebDriver"
SCREEN: Final = "Xvfb"
BROWSERS: Final = "*/webkit2gtk-4.1/MiniBrowser"
SOFTWARE_RENDERING: Final = {"WEBKIT_DISABLE_DMABUF_RENDERER": "1", "LIBGL_ALWAYS_SOFTWARE": "1"}
CANDIDATES: Final = {
    "button": "button, summary",
    "link": "a[href]",
    "textbox": "textarea, input:not([type]), input[type=text]",
    "searchbox": "input[type=search]",
}
"""What may have a role, by CSS; the browser is asked for its name."""
VISIBLE: Final = """
return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility()).reverse()
"""
NOT_NOW: Final = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)


def mini_browser() -> str | None:
    """Return the browser that comes with WebKitGTK, if it is here."""
    return next(map(str, Path("/usr/lib").glob(BROWSERS)), None)


class WebKitTab:
    """A tab of the one session that its driver has; each command names the tab first."""

    def __init__(self, driver: Remote, lock: asyncio.Lock) -> None:
        self._driver = driver
        self._lock = lock
        self._handle = driver.current_window_handle

    async def open(self, address: str) -> None:
        await self._run(lambda: self._driver.get(address))

    async def reload(self) -> None:
        await self._run(self._driver.refresh)

    async def back(self) -> None:
        await self._run(self._driver.back)

    async def forward(self) -> None:
        await self._run(self._driver.forward)

    async def evaluate(self, function: str, argument: object = None) -> Any:
        script = f"return ({function})(arguments[0])"
        return await self._run(lambda: self._driver.execute_script(script, argument))

    async def hover(self, role: str, name: str) -> None:
        await self._use(role, name, lambda one: self._actions().move_to_element(one).perform())

    async def click(self, role: str, name: str) -> None:
        await self._use(role, name, WebElement.click)

    async def type(self, text: str) -> None:
        await self._run(lambda: self._actions().send_keys(text).perform())

    async def press(self, key: str) -> None:
        *held, last = [getattr(Keys, part.upper(), part) for part in key.split("+")]

        def act() -> None:
            chain = self._actions()
            for one in held:
                chain.key_down(one)
            chain.send_keys(last)
            for one in held:
                chain.key_up(one)
            chain.perform()

        await self._run(act)

    async def beside(self) -> WebKitTab:
        await self._run(lambda: self._driver.switch_to.new_window("window"))
        return WebKitTab(self._driver, self._lock)

    async def close(self) -> None:
        await self._run(self._driver.close)

    def _actions(self) -> ActionChains:
        return ActionChains(self._driver, duration=0)

    async def _use(self, role: str, name: str, act: Callable[[WebElement], None]) -> None:
        """Act on an element as soon as it is there and can be used."""
        async with asyncio.timeout(PATIENCE):
            while not await self._run(lambda: self._try(role, name, act)):
                await asyncio.sleep(POLL_SECONDS)

    def _try(self, role: str, name: str, act: Callable[[WebElement], None]) -> bool:
        try:
            for one in self._driver.execute_script(VISIBLE, CANDIDATES[role]):
                if one.accessible_name == name:
                    act(one)
                    return True
        except NOT_NOW:
            pass
        return False

    async def _run(self, command: Callable[[], T]) -> T:
        def run() -> T:
            self._driver.switch_to.window(self._handle)
            return command()

        async with self._lock:
            return await asyncio.to_thread(run)


@asynccontextmanager
async def webkit_tab(driver: str, screen: str, browser: str) -> AsyncIterator[WebKitTab]:
    with virtual_screen(screen) as display:
        environ = {**os.environ, **SOFTWARE_RENDERING, "DISPLAY": display}
        service = Service(driver, env=environ)
        service.start()
        try:
            session = await asyncio.to_thread(begin_session, service.service_url, browser)
            yield WebKitTab(session, asyncio.Lock())
            await asyncio.to_thread(session.quit)
        finally:
            service.stop()


def begin_session(driver: str, browser: str) -> Remote:
    options = Options()
    options.binary_location = browser
    options.add_argument("--automation")
    config = ClientConfig(remote_server_addr=driver, timeout=int(PATIENCE))
    return Remote(command_executor=RemoteConnection(client_config=config), options=options)


@contextmanager
def virtual_screen(program: str) -> Iterator[str]:
    """Start an X server with a screen in memory; its display's name."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [program, "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(writing)
        try:
            with os.fdopen(reading) as lines:
                yield f":{lines.readline().strip()}"
        finally:
            process.terminate()
