# mypy: ignore-errors
"""LangChain with its two packages that speak these protocols."""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder has scripts with the names of the clients
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

ORIGIN, MODEL, _ = sys.argv[1:]
ALONE = {"parallel_tool_calls": False}
HERE = {"base_url": f"{ORIGIN}/v1", "api_key": "none", "model": MODEL}


class City(BaseModel):
    """A city."""

    name: str
    country: str


called = AIMessage("", tool_calls=[{"name": "sky", "args": {"at": "noon"}, "id": "1"}])
TURNS = [
    SystemMessage("Be brief."),
    HumanMessage("Hello."),
    HumanMessage("What colour is the sky?"),
    called,
    ToolMessage("blue", tool_call_id="1"),
]
OPENAI = ChatOpenAI(**HERE, temperature=0, max_tokens=30)
OLLAMA = ChatOllama(base_url=ORIGIN, model=MODEL, temperature=0, num_predict=30)
for chat in (OPENAI, OLLAMA):
    whole = chat.invoke("Say hello.")
    assert whole.content
    assert whole.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.content for chunk in chat.stream("Say hello.")) == whole.content
    assert chat.invoke(TURNS) is not None
CALLING = ChatOpenAI(**HERE, max_tokens=200).bind_tools([City], tool_choice="required")
(call,) = CALLING.invoke("Name a city.", parallel_tool_calls=False).tool_calls
assert call["name"] == "City"
assert call["args"].keys() == {"name", "country"}
for made in (
    OPENAI.with_structured_output(City, method="json_schema").invoke("Name a city."),
    OLLAMA.with_structured_output(City, method="json_schema").invoke("Name a city."),
):
    assert isinstance(made, City)
assert OPENAI.bind(logprobs=True).invoke("Hi").response_metadata["logprobs"]["content"]
assert OpenAI(**HERE, max_tokens=4, best_of=2, n=1).invoke("Once upon")
assert OllamaLLM(base_url=ORIGIN, model=MODEL, num_predict=4).invoke("Once upon")
# Sends token ids, unless told not to: with those of another model's vocabulary it is refused.
texts = OpenAIEmbeddings(**HERE, check_embedding_ctx_length=False, dimensions=32)
assert [len(vector) for vector in texts.embed_documents(["a fox", "a hen"])] == [32, 32]
assert len(OllamaEmbeddings(base_url=ORIGIN, model=MODEL).embed_query("a fox")) > 32


# Calls of a tool, and OpenAI's newer protocol.
class Town(BaseModel):
    """A town."""

    name: str = Field(max_length=20)


caller = ChatOpenAI(**HERE, temperature=0, max_tokens=60, model_kwargs=ALONE)
asked = caller.bind_tools([Town], tool_choice="Town").invoke("Name a town.")
assert [call["name"] for call in asked.tool_calls] == ["Town"]
result = ToolMessage("done", tool_call_id=asked.tool_calls[0]["id"])
assert OPENAI.invoke([HumanMessage("Name a town."), asked, result]) is not None
newer = ChatOpenAI(**HERE, temperature=0, max_tokens=30, use_responses_api=True)
assert newer.invoke("Say hello.").text
