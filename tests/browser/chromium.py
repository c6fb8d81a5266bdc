"""What tests of pages wait for and ask of the browser."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver


def found_program(name: str, packages: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"there is no {name}: install the Debian {packages}")
    return path


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """Wait for a value that is true and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come in {seconds} s"
        time.sleep(0.1)
    return value


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def problems(page: webdriver.Chrome) -> list[str]:
    """Return what the console says that is no mere warning."""
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def requested(page: webdriver.Chrome) -> set[str]:
    """Return the addresses that the page asked for.

    What the page before it asks for while it is left can come into the log late; it is of another
    server, and not counted.
    """
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    server = urlsplit(page.current_url)[:2]
    return {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and urlsplit(event["params"]["documentURL"].removeprefix("blob:"))[:2] == server
    }
