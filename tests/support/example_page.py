"""Open `examples/browser.html` in Chromium as its reader does: ``python example_page.py ADDRESS``.

Prints what the page shows in the end; exit status 1 if it says that it failed. The address of the
bridge, the key and the model are those of the environment.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.async_api import async_playwright
from support.browser import FLAGS, HANG_MS, NAMES


async def main(address: str) -> int:
    """Fill in the form, ask, and wait for the end."""
    async with async_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)))
        chromium = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = await chromium.new_page()
        page.set_default_timeout(HANG_MS)
        await page.goto(address)
        await page.fill("[name=base]", os.environ["OPENAI_BASE_URL"])
        await page.fill("[name=key]", os.environ["OPENAI_API_KEY"])
        await page.fill("[name=model]", os.environ["MODEL"])
        await page.click("button")
        end = page.locator("output.completed, output.failed")
        await end.wait_for()
        print(await end.inner_text())  # noqa: T201
        has_failed = await page.locator("output.failed").count()
        await chromium.close()
        return has_failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
