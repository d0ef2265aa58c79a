"""The tools, resources and prompts that the official suites ask in several rounds or only read."""

from __future__ import annotations

import json
from typing import Any, Final

from fluxbase.toolkit import Context, prompt, resource, tool
from fluxbase.toolkit.client import Question
from fluxbase.toolkit.content import Blocks, embedded, image, text
from fluxbase.toolkit.prompt import user
from tests.conformance.fixtures import PNG, READ, elicit, sample, words

_NAME: Final = elicit("What is your name?", {"name": {"type": "string"}}, "name")
_OK: Final = elicit("Please confirm", {"ok": {"type": "boolean"}}, "ok")
_ROOTS: Final = Question("roots/list", {})
Messages = list[dict[str, Any]]


@tool(scopes=READ, title="Ask a name", read_only=True)
async def test_input_required_result_elicitation(ctx: Context) -> Blocks:
    """Ask for a name and greet it."""
    answers = await ctx.client.ask({"user_name": _NAME})
    return words(f"Hello, {answers['user_name']['content']['name']}!")


@tool(scopes=READ, title="Ask a model", read_only=True)
async def test_input_required_result_sampling(ctx: Context) -> Blocks:
    """Ask the client's model for a capital."""
    question = sample("What is the capital of France?", 100)
    answers = await ctx.client.ask({"capital_question": question})
    return words(json.dumps(answers["capital_question"]["content"]))


@tool(scopes=READ, title="Ask for roots", read_only=True)
async def test_input_required_result_list_roots(ctx: Context) -> Blocks:
    """Ask for the client's roots."""
    answers = await ctx.client.ask({"client_roots": _ROOTS})
    return words(json.dumps(answers["client_roots"]["roots"]))


@tool(scopes=READ, title="Keep a state", read_only=True)
async def test_input_required_result_request_state(ctx: Context) -> Blocks:
    """Ask, and look whether what was kept comes back."""
    await ctx.client.ask({"confirm": _OK}, state="kept")
    return words("state-ok" if ctx.client.state == "kept" else "state-lost")


@tool(scopes=READ, title="Guard a state", read_only=True)
async def test_input_required_result_tampered_state(ctx: Context) -> Blocks:
    """Ask, with a state that nobody may change."""
    await ctx.client.ask({"confirm": _OK}, state="guarded")
    return words("state-ok")


@tool(scopes=READ, title="Ask three things", read_only=True)
async def test_input_required_result_multiple_inputs(ctx: Context) -> Blocks:
    """Ask the person, the model and for roots at once."""
    answers = await ctx.client.ask(
        {
            "user_name": _NAME,
            "greeting": sample("Generate a greeting", 50),
            "client_roots": _ROOTS,
        },
        state="all",
    )
    return words(json.dumps(sorted(answers)))


@tool(scopes=READ, title="Ask twice", read_only=True)
async def test_input_required_result_multi_round(ctx: Context) -> Blocks:
    """Ask one thing after the other."""
    kept: dict[str, str] = ctx.client.state or {}
    name = kept.get("name")
    if name is None:
        fields = {"name": {"type": "string"}}
        first = await ctx.client.ask({"step1": elicit("Step 1: What is your name?", fields)}, {})
        name = first["step1"]["content"]["name"]
    fields = {"color": {"type": "string"}}
    question = elicit("Step 2: What is your favorite color?", fields, "color")
    second = await ctx.client.ask({"step2": question}, {"name": name})
    return words(f"{name} likes {second['step2']['content']['color']}")


@tool(scopes=READ, title="Ask what can be answered", read_only=True)
async def test_input_required_result_capabilities(ctx: Context) -> Blocks:
    """Ask what the client can answer and nothing else."""
    every = {"name": _NAME, "greeting": sample("Generate a greeting", 50), "roots": _ROOTS}
    able = {name: q for name, q in every.items() if ctx.client.can(q.capability)}
    return words(json.dumps(sorted(await ctx.client.ask(able))))


@resource("test://static-text", scopes=READ, title="Text", mime_type="text/plain")
async def static_text(_ctx: Context) -> str:
    """Hold a text."""
    return "This is the content of the static text resource."


@resource("test://static-binary", scopes=READ, title="Picture", mime_type="image/png")
async def static_binary(_ctx: Context) -> bytes:
    """Hold a picture."""
    return PNG


@resource("test://template/{id}/data", scopes=READ, title="Data of an id")
async def template_data(_ctx: Context, id: str) -> str:  # noqa: A002 - the suites name it so
    """Hold the data of an id."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@prompt(scopes=READ, title="Simple")
async def test_simple_prompt(_ctx: Context) -> Messages:
    """Say one thing."""
    return [user(text("This is a simple prompt for testing."))]


@prompt(scopes=READ, title="With arguments")
async def test_prompt_with_arguments(_ctx: Context, arg1: str, arg2: str) -> Messages:
    """Say two arguments."""
    return [user(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]


@prompt(scopes=READ, title="With a resource")
async def test_prompt_with_embedded_resource(
    _ctx: Context,
    resourceUri: str,  # noqa: N803 - the suites name it so
) -> Messages:
    """Show a resource."""
    body = "Embedded resource content for testing."
    return [
        user(embedded(resourceUri, body, "text/plain")),
        user(text("Please process the embedded resource above.")),
    ]


@prompt(scopes=READ, title="With a picture")
async def test_prompt_with_image(_ctx: Context) -> Messages:
    """Show a picture."""
    return [user(image(PNG, "image/png")), user(text("Please analyze the image above."))]


@prompt(scopes=READ, title="Asks first")
async def test_input_required_result_prompt(ctx: Context) -> Messages:
    """Ask for a context and use it."""
    fields = {"context": {"type": "string"}}
    question = elicit("What context should the prompt use?", fields, "context")
    answers = await ctx.client.ask({"user_context": question})
    return [user(text(f"Use this: {answers['user_context']['content']['context']}"))]


@prompt(scopes=READ, title="Comes and goes")
async def test_prompt_comes_and_goes(_ctx: Context) -> Messages:
    """Be there or not."""
    return [user(text("here"))]
