"""Libraries that call the project's functions to answer a person: user interfaces, web servers, bots, command lines.

What such a function returns is shown or sent as it is: nothing in the project can still cut the prompt off it.
"""

from __future__ import annotations

_LIBRARIES = frozenset(
    {
        "aiogram",
        "aiohttp",
        "bentoml",
        "bottle",
        "celery",
        "chainlit",
        "click",
        "dash",
        "discord",
        "falcon",
        "fastapi",
        "fastmcp",
        "fire",
        "flask",
        "gradio",
        "grpc",
        "ipywidgets",
        "litserve",
        "mcp",
        "mesop",
        "modal",
        "nextcord",
        "nicegui",
        "panel",
        "pyramid",
        "PyQt5",
        "PyQt6",
        "PySide2",
        "PySide6",
        "quart",
        "reflex",
        "robyn",
        "sanic",
        "shiny",
        "slack_bolt",
        "socketio",
        "starlette",
        "streamlit",
        "taipy",
        "telebot",
        "telegram",
        "threading",
        "tkinter",
        "tornado",
        "typer",
        "uvicorn",
        "websockets",
        "werkzeug",
        "xmlrpc",
    }
)
_METHODS = frozenset(
    {
        "add_api_route",
        "add_command",
        "add_get",
        "add_handler",
        "add_listener",
        "add_post",
        "add_route",
        "add_url_rule",
        "bind",
        "change",
        "click",
        "command",
        "launch",
        "observe",
        "on",
        "on_click",
        "post",
        "register_function",
        "route",
        "select",
        "submit",
        "tool",
    }
)


def answers_a_person(to: str, library: str) -> bool:
    """Whether a call shows or sends what a function that it is given returns.

    Args:
        to: The name that is called, dotted where it is a library's.
        library: The dotted name of what made the object whose method is called; empty where that is not known.
    """
    if (library or to).partition(".")[0] in _LIBRARIES:
        return True
    return not library and "." not in to and to in _METHODS
