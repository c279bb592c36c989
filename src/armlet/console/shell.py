"""What is around every page: its head, the way to others, language, light and dark, the stop."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from contextvars import ContextVar
from html import escape

from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request

from .access import App
from .front import FILES
from .page import Page, Setting, Visit
from .words import Language, Words, language_of

LANGUAGE_COOKIE, THEME_COOKIE = "armlet_language", "armlet_theme"
_THEMES: dict[str, bool | None] = {"auto": None, "light": False, "dark": True}
_NAMES: dict[str, str] = {str(Language.EN): "English", str(Language.ZH): "简体中文"}
_STOP_WORDS = ("sending", "not_sent", "refused", "done")
_RESOLVE = "resolve_language"
_language: ContextVar[Language] = ContextVar("language", default=Language.EN)


def make_app(pages: Sequence[Page], setting: Setting) -> App:
    """The application of all pages. Once in a process: the library keeps its own in its modules."""
    for page in pages:
        if page.serve is not None:
            page.serve(setting)
        _add(page, pages, setting)
    if pages:
        _add(pages[0], pages, setting, "/")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.run_with(
        app,
        title="armlet",
        favicon="🦾",
        tailwind=False,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        message_history_length=100,
    )
    made: App = app
    return made


def _add(page: Page, pages: Sequence[Page], setting: Setting, path: str = "") -> None:
    async def show(request: Request) -> None:
        choice = request.cookies.get(LANGUAGE_COOKIE, "")
        language = language_of(choice, request.headers.get("accept-language", ""))
        _language.set(language)
        visit = Visit(Words(language), setting)
        theme = request.cookies.get(THEME_COOKIE, "")
        _frame(page, pages, visit, theme if theme in _THEMES else "auto")
        with ui.element("main").props('id="content" tabindex="-1"').classes("armlet-content"):
            built = page.build(visit)
            if inspect.isawaitable(built):
                await built

    shown = ui.page(path or page.path)
    # As the visit's, which differs; its own argument would be of all.
    setattr(shown, _RESOLVE, lambda: str(_language.get()))
    shown(show)


def _frame(page: Page, pages: Sequence[Page], visit: Visit, theme: str) -> None:
    say = visit.say
    ui.page_title(f"{say(f'{page.code}.title')} · {say('shell.title')}")
    ui.add_head_html(f'<link rel="stylesheet" href="{FILES}console.css">')
    ui.add_body_html(_stop(say))
    ui.dark_mode(_THEMES[theme])
    with ui.header().classes("items-center armlet-head"):
        ui.html(
            f'<a class="armlet-skip" href="#content">{escape(say("shell.to_content"))}</a>',
            sanitize=False,
        )
        with ui.element("nav").classes("armlet-nav").props(f'aria-label="{say("shell.pages")}"'):
            for other in pages:
                with ui.link(target=other.path) as link:
                    ui.icon(other.icon).props('aria-hidden="true"')
                    ui.label(say(f"{other.code}.title"))
                if other is page:
                    link.props('aria-current="page"')
        ui.space()
        _choice(say("shell.language"), LANGUAGE_COOKIE, _NAMES, str(say.language))
        themes = {name: say(f"shell.theme.{name}") for name in _THEMES}
        _choice(say("shell.theme"), THEME_COOKIE, themes, theme)


def _choice(label: str, cookie: str, options: dict[str, str], value: str) -> None:
    """A list whose choice the browser keeps; the page is shown again with it."""

    def keep(chosen: str) -> None:
        kept = f"{cookie}={chosen}; Path=/; Max-Age=31536000; SameSite=Strict"
        ui.run_javascript(f"document.cookie={json.dumps(kept)}; location.reload()")

    ui.select(
        options,
        value=value,
        label=label,
        on_change=lambda event: keep(str(event.value)),
    ).props("dark dense options-dense outlined").classes("armlet-choice")


def _stop(say: Words) -> str:
    data = " ".join(
        f'data-{word.replace("_", "-")}="{escape(say(f"stop.{word}"))}"' for word in _STOP_WORDS
    )
    return (
        f'<div id="armlet-stop-note" role="alert" aria-live="assertive" hidden></div>'
        f'<button id="armlet-stop" type="button" aria-label="{escape(say("stop.label"))}" '
        f'title="{escape(say("stop.label"))}" {data}>{escape(say("stop.button"))}'
        f"<small>{escape(say('stop.key'))}</small></button>"
        f'<script defer src="{FILES}stop.js"></script>'
    )
