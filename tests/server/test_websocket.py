"""The socket, end to end over a real connection, with a scripted upstream."""

from scripted import Scripted, answer


async def test_a_turn_streams_from_created_to_completed(serve):
    bridge = await serve(Scripted(answer("Hel", "lo")))
    client = await bridge.connect()
    events = await client.turn(input="hi")
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hello"
