"""LangChain over HTTP: two turns, the second one streamed. pip install langchain-openai."""

import os

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model=os.environ.get("MODEL", "demo"),
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8787/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "any"),
    use_responses_api=True,  # else it asks /v1/chat/completions, which the bridge has not
    use_previous_response_id=True,  # a turn sends what is new, not the whole history
)
first = model.invoke([("user", "My name is Ada.")])
print(first.text)
for chunk in model.stream([("user", "My name is Ada."), first, ("user", "What is my name?")]):
    print(chunk.text, end="")
print()
