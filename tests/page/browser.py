"""A browser for tests: Debian's chromium, without a network, in a folder of its own."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip


def why_not() -> str:
    """Why there is no browser here; empty where there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no browser: {' and '.join(lacking)} not found (apt-get install chromium chromium-driver)" * bool(lacking)


class Browser:
    """A page in chromium.

    Args:
        folder: an empty folder for the browser's own files.
    """

    def __init__(self, folder: Path):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        for option in (*OPTIONS, f"--user-data-dir={folder}"):
            options.add_argument(option)
        options.binary_location = str(shutil.which("chromium"))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(str(shutil.which("chromedriver")))
        self.driver = webdriver.Chrome(options, service)
        self.driver.set_page_load_timeout(60)

    def open(self, path: Path, fragment: str = "", width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file anew, at a width and in a theme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        theme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", theme)
        self.driver.get("about:blank")
        self.messages(), self.requests()
        self.driver.get(f"{path.as_uri()}{fragment}")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any, seconds: float = 20.0) -> Any:
        """What a script returns as soon as that is something: tables are sorted and plots drawn after an event."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: self.run(script, *arguments))

    def becomes(self, script: str, value: Any, seconds: float = 20.0) -> None:
        """Wait until a script returns this; a table is sorted and filtered some time after the event."""
        now = None
        for _ in range(int(seconds / 0.05)):
            if (now := self.run(script)) == value:
                return
            time.sleep(0.05)
        raise AssertionError(f"{script} stays {now}, not {value}")

    def messages(self) -> list[str]:
        """The warnings and errors of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("about:", "data:"))]

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()
