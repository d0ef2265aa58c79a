"""The tools that the official suites call, and never part of the product.

Names, arguments and texts are those that the suites look for.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from pydantic import Field

from fluxbase.errors import FluxbaseError
from fluxbase.toolkit import Context, tool
from fluxbase.toolkit.client import Question
from fluxbase.toolkit.content import Blocks, audio, embedded, image, text

READ: Final = ("read:tables",)
# One red pixel, and one silent sample.
PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV: Final = (
    b"RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00"
    b"\x80\x3e\x00\x00\x02\x00\x10\x00data\x02\x00\x00\x00\x00\x00"
)
_STEP: Final = 0.05
_SCHEMA_2020: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

Change = Callable[[], Awaitable[None] | None]


class Levers:
    """What the test build gives its tools to pull: each changes a list of the server."""

    tools: Change
    prompts: Change


LEVERS: Final = Levers()


class Intended(FluxbaseError):
    """A failure that is asked for."""

    code, title, status = "FLX101", "This tool intentionally returns an error for testing", 400


def words(said: str) -> Blocks:
    return Blocks((text(said),))


def elicit(message: str, properties: dict[str, Any], *required: str) -> Question:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return Question("elicitation/create", {"message": message, "requestedSchema": schema})


def sample(prompt: str, most: int) -> Question:
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return Question("sampling/createMessage", {"messages": messages, "maxTokens": most})


@tool(scopes=READ, title="Text", read_only=True)
async def test_simple_text(_ctx: Context) -> Blocks:
    """Return a text."""
    return words("This is a simple text response for testing.")


@tool(scopes=READ, title="Image", read_only=True)
async def test_image_content(_ctx: Context) -> Blocks:
    """Return a picture."""
    return Blocks((image(PNG, "image/png"),))


@tool(scopes=READ, title="Audio", read_only=True)
async def test_audio_content(_ctx: Context) -> Blocks:
    """Return a sound."""
    return Blocks((audio(WAV, "audio/wav"),))


@tool(scopes=READ, title="Embedded resource", read_only=True)
async def test_embedded_resource(_ctx: Context) -> Blocks:
    """Return a resource."""
    body = "This is an embedded resource content."
    return Blocks((embedded("test://embedded-resource", body, "text/plain"),))


@tool(scopes=READ, title="Several kinds", read_only=True)
async def test_multiple_content_types(_ctx: Context) -> Blocks:
    """Return content of several kinds."""
    body = json.dumps({"test": "data", "value": 123})
    return Blocks(
        (
            text("Multiple content types test:"),
            image(PNG, "image/png"),
            embedded("test://mixed-content-resource", body, "application/json"),
        )
    )


@tool(scopes=READ, title="Error", read_only=True)
async def test_error_handling(_ctx: Context) -> Blocks:
    """Fail."""
    raise Intended


@tool(scopes=READ, title="Logging", read_only=True)
async def test_tool_with_logging(ctx: Context) -> Blocks:
    """Log three messages."""
    await ctx.client.log("info", "Tool execution started")
    await asyncio.sleep(_STEP)
    await ctx.client.log("info", "Tool processing data")
    await asyncio.sleep(_STEP)
    await ctx.client.log("info", "Tool execution completed")
    return words("Tool with logging executed successfully")


@tool(scopes=READ, title="Logging of this era", read_only=True)
async def test_logging_tool(ctx: Context) -> Blocks:
    """Log a message to who asked for it with the call."""
    await ctx.client.log("info", "a message")
    return words("done")


@tool(scopes=READ, title="Progress", read_only=True)
async def test_tool_with_progress(ctx: Context) -> Blocks:
    """Tell of three steps."""
    for done in (0, 50, 100):
        await ctx.client.progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(_STEP)
    return words("Tool with progress executed successfully")


@tool(scopes=READ, title="Sampling", read_only=True)
async def test_sampling(ctx: Context, prompt: str) -> Blocks:
    """Ask the client's model."""
    answers = await ctx.client.ask({"answer": sample(prompt, 100)})
    return words(f"LLM response: {answers['answer']['content']['text']}")


@tool(scopes=READ, title="Elicitation", read_only=True)
async def test_elicitation(ctx: Context, message: str) -> Blocks:
    """Ask the person for two texts."""
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    answers = await ctx.client.ask({"answer": elicit(message, fields, "username", "email")})
    answer = answers["answer"]
    return words(
        f"User response: action={answer['action']}, content={json.dumps(answer.get('content'))}"
    )


@tool(scopes=READ, title="Elicitation with defaults", read_only=True)
async def test_elicitation_sep1034_defaults(ctx: Context) -> Blocks:
    """Ask the person for fields that have defaults."""
    fields: dict[str, Any] = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    }
    return await _completed(ctx, elicit("Please review and update the form", fields))


@tool(scopes=READ, title="Elicitation with choices", read_only=True)
async def test_elicitation_sep1330_enums(ctx: Context) -> Blocks:
    """Ask the person for choices of every form."""
    titled = [
        {"const": f"value{n}", "title": f"{word} Option"}
        for n, word in enumerate(("First", "Second", "Third"), start=1)
    ]
    options = ["option1", "option2", "option3"]
    fields: dict[str, Any] = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await _completed(ctx, elicit("Please choose", fields))


async def _completed(ctx: Context, question: Question) -> Blocks:
    answer = (await ctx.client.ask({"answer": question}))["answer"]
    content = json.dumps(answer.get("content"))
    return words(f"Elicitation completed: action={answer['action']}, content={content}")


@tool(scopes=READ, title="Reconnection", read_only=True)
async def test_reconnection(ctx: Context) -> Blocks:
    """Close the stream, and answer when the client is back."""
    await ctx.client.hang_up()
    await asyncio.sleep(_STEP * 2)
    return words("Reconnection test completed successfully")


@tool(scopes=READ, title="JSON Schema 2020-12", read_only=True, input_schema=_SCHEMA_2020)
async def json_schema_2020_12_tool(
    _ctx: Context, name: str = "", address: dict[str, str] | None = None
) -> Blocks:
    """Tool with JSON Schema 2020-12 features."""
    return words(f"{name} {address}")


@tool(scopes=READ, title="Missing capability", read_only=True)
async def test_missing_capability(ctx: Context) -> Blocks:
    """Need a client that samples."""
    await ctx.client.ask({"answer": sample("anything", 10)})
    return words("done")


@tool(scopes=READ, title="Streaming elicitation", read_only=True)
async def test_streaming_elicitation(ctx: Context) -> Blocks:
    """Tell of a step, then ask."""
    await ctx.client.progress(1, 2, "one")
    await ctx.client.ask({"name": elicit("Name?", {"name": {"type": "string"}}, "name")})
    return words("done")


@tool(scopes=READ, title="Change the tools", read_only=True)
async def test_trigger_tool_change(_ctx: Context) -> Blocks:
    """Change the list of tools."""
    LEVERS.tools()
    return words("changed")


@tool(scopes=READ, title="Change the prompts", read_only=True)
async def test_trigger_prompt_change(_ctx: Context) -> Blocks:
    """Change the list of prompts."""
    LEVERS.prompts()
    return words("changed")


@tool(scopes=READ, title="Comes and goes", read_only=True)
async def test_comes_and_goes(_ctx: Context) -> Blocks:
    """Be there or not."""
    return words("here")


@tool(scopes=READ, title="Header parameter", read_only=True)
async def test_header_param(
    _ctx: Context,
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
) -> Blocks:
    """Say what a header says too."""
    return words(region)
