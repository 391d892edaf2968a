"""What a user of the official client for Python does.

usage: scenarios.py URL KEY MODEL

Prints one JSON line for each scenario: {"name": ..., "failure": null or what went wrong}.
"""

import json
import sys
import traceback

import openai

url, key, model = sys.argv[1:4]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20)
question = [{"role": "user", "content": "What is the capital of France?"}]
weather = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
scenarios = []


def scenario(run):
    scenarios.append(run)
    return run


def failure_of(run):
    try:
        run()
    except openai.APIError as error:
        return error
    raise AssertionError("it succeeded, and should have failed")


@scenario
def an_answer_in_one_piece():
    raw = client.chat.completions.with_raw_response.create(model=model, messages=question)
    answer = raw.parse()
    assert answer.model == model and answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert len(raw.headers["x-request-id"]) == 36


@scenario
def a_stream_read_chunk_by_chunk():
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=model, messages=question, stream=True, stream_options=options))
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert sum(1 for chunk in chunks for choice in chunk.choices if choice.finish_reason) == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0


@scenario
def the_stream_helper_ends_with_the_whole_answer():
    seen = ""
    with client.chat.completions.stream(model=model, messages=question) as stream:
        for event in stream:
            if event.type == "content.delta":
                seen += event.delta
        final = stream.get_final_completion()
    assert final.choices[0].message.content == seen != ""


@scenario
def a_call_of_a_tool_streamed():
    with client.chat.completions.stream(model=model, messages=question, tools=[weather], tool_choice="required") as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    call = final.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and isinstance(json.loads(call.function.arguments), dict)
    messages = [*question, final.choices[0].message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": one.id, "content": "sunny"} for one in final.choices[0].message.tool_calls]
    assert client.chat.completions.create(model=model, messages=messages).choices[0].message.content


@scenario
def log_probabilities_of_several_choices():
    answer = client.chat.completions.create(model=model, messages=question, n=2, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs.content and all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


@scenario
def completions_of_several_prompts():
    answer = client.completions.create(model=model, prompt=["one", "two"], n=2, max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


@scenario
def the_models_and_one_of_them():
    assert model in [one.id for one in client.models.list()]
    assert client.models.retrieve(model).id == model


@scenario
def a_wrong_key():
    error = failure_of(lambda: client.with_options(api_key="sk-wrong").models.list())
    assert isinstance(error, openai.AuthenticationError) and error.code == "invalid_api_key", error


@scenario
def a_model_that_is_not_there():
    error = failure_of(lambda: client.models.retrieve("no/such-model"))
    assert isinstance(error, openai.NotFoundError) and error.code == "model_not_found", error


@scenario
def a_parameter_out_of_bounds():
    error = failure_of(lambda: client.chat.completions.create(model=model, messages=question, temperature=3))
    assert isinstance(error, openai.BadRequestError), error
    assert (error.code, error.param) == ("decimal_above_max_value", "temperature"), error
    assert len(error.request_id) == 36


@scenario
def a_stream_that_its_reader_leaves():
    with client.chat.completions.create(model=model, messages=question, stream=True) as stream:
        next(iter(stream))


for run in scenarios:
    failure = None
    try:
        run()
    except Exception:  # whatever it is, the test on the other side reports it
        failure = traceback.format_exc(limit=3)
    print(json.dumps({"name": run.__name__, "failure": failure}), flush=True)
