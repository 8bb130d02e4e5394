"""Each source of each support stands at the words that it supports."""

import pytest

from ws_bridge.upstream.dialects.gemini.grounding import Grounding

PAGE = {"web": {"uri": "https://a.example/1", "title": "A"}}
PLACE = {"maps": {"uri": "https://maps.example/2", "title": "B", "placeId": "p"}}
FILE = {"retrievedContext": {"title": "notes.md", "documentName": "stores/s/documents/d"}}


def support(text=None, start=None, end=None, chunks=(0,)):
    segment = {"startIndex": start, "endIndex": end, "text": text}
    segment = {name: value for name, value in segment.items() if value is not None}
    return {"segment": segment, "groundingChunkIndices": list(chunks)}


def grounding(*supports, chunks=(PAGE, PLACE), **more):
    taken = Grounding()
    metadata = {"groundingChunks": list(chunks), "groundingSupports": list(supports), **more}
    taken.take({"groundingMetadata": metadata})
    return taken


def cited(text, *supports):
    """The addresses with the words that they stand at."""
    notes = grounding(*supports).annotations(text)
    return [(note["url"], text[note["start_index"] : note["end_index"]]) for note in notes]


def test_offsets_are_bytes_and_absent_ones_are_the_beginning():
    text = "Es ist 69°F, sagt A. Und Ärger."
    assert cited(text, support("Es ist 69°F", end=12)) == [("https://a.example/1", "Es ist 69°F")]
    assert cited(text, support("Ärger", 26, 32, [1])) == [("https://maps.example/2", "Ärger")]


def test_every_source_of_a_support_has_its_annotation():
    assert cited("ab", support("a", 0, 1, [0, 1, 0])) == [
        ("https://a.example/1", "a"),
        ("https://maps.example/2", "a"),
        ("https://a.example/1", "a"),
    ]


@pytest.mark.parametrize("indices", [[7], [-1], ["0"], [None], None])
def test_a_source_that_is_not_there_is_none(indices):
    one = support("a", 0, 1)
    one["groundingChunkIndices"] = indices
    assert cited("ab", one) == []


def test_the_words_count_where_the_offsets_are_wrong():
    assert cited("one two one", support("one", 7, 10)) == [("https://a.example/1", "one")]
    (note,) = grounding(support("one", 7, 10)).annotations("one two one")
    assert note["start_index"] == 8
    (note,) = grounding(support("one", 900, 903)).annotations("one two one.")
    assert note["start_index"] == 8


def test_words_of_another_text_are_not_cited_here():
    assert cited("the last text", support("an earlier text", 20, 35)) == []
    assert cited("almost so", support("Almost so", 0, 6)) == [("https://a.example/1", "almost")]


@pytest.mark.parametrize("segment", [{}, {"startIndex": -3}, {"endIndex": 999}, {"endIndex": "2"}])
def test_odd_segments_stay_inside_of_the_text(segment):
    one = {"segment": segment, "groundingChunkIndices": [0]}
    assert cited("abc", one) == [("https://a.example/1", "abc")]


def test_half_of_a_character_is_not_cited():
    (note,) = grounding(support(None, 0, 1)).annotations("°F")
    assert (note["start_index"], note["end_index"]) == (0, 0)


def test_a_file_is_cited_by_name():
    (note,) = grounding(support("a", 0, 1), chunks=[FILE]).annotations("ab")
    assert note == {
        "type": "file_citation",
        "file_id": "stores/s/documents/d",
        "filename": "notes.md",
        "index": 1,
    }


def test_what_is_sent_again_is_told_once():
    taken = grounding(support("a", 0, 1))
    assert len(taken.annotations("ab")) == 1
    again = {"groundingChunks": [PAGE, PLACE, FILE], "groundingSupports": [support("a", 0, 1)]}
    taken.take({"groundingMetadata": again})
    taken.take({"groundingMetadata": {"groundingSupports": [support("b", 1, 2, [2])]}})
    assert [note["type"] for note in taken.annotations("ab")] == ["file_citation"]


def test_chunks_that_come_in_pieces_are_counted_on():
    taken = grounding(chunks=[PAGE])
    more = {"groundingChunks": [PLACE], "groundingSupports": [support("a", 0, 1, [1])]}
    taken.take({"groundingMetadata": more})
    assert taken.annotations("ab")[0]["url"] == "https://maps.example/2"


def test_sources_without_supports_stand_at_the_whole_text():
    assert [note["end_index"] for note in grounding().unplaced("abc")] == [3, 3]
    supported = grounding(support("a", 0, 1))
    supported.annotations("abc")
    assert supported.unplaced("abc") == []


def test_citations_of_the_models_own_are_annotations():
    taken = Grounding()
    sources = [{"startIndex": 1, "endIndex": 2, "uri": "https://c.example"}, {"license": "mit"}]
    taken.take({"citationMetadata": {"citationSources": sources}})
    assert [(n["url"], n["start_index"], n["title"]) for n in taken.annotations("abc")] == [
        ("https://c.example", 1, "")
    ]


def test_searches_and_pages_are_items_once():
    taken = grounding(webSearchQueries=["a", "b"], retrievalQueries=["c"])
    pages = [
        {"retrievedUrl": "https://p", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
        {"retrievedUrl": "https://q", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
    ]
    taken.take({"urlContextMetadata": {"urlMetadata": pages}})
    found = list(taken.searches())
    assert [status for _, status in found] == ["completed", "failed", "completed", "completed"]
    assert [item.get("action", {}).get("url") for item, _ in found[:2]] == [
        "https://p",
        "https://q",
    ]
    assert found[2][0]["action"]["queries"] == ["a", "b"]
    assert [s["url"] for s in found[2][0]["action"]["sources"]] == [
        "https://a.example/1",
        "https://maps.example/2",
    ]
    assert found[3][0]["queries"] == ["c"]
    taken.take({"urlContextMetadata": {"urlMetadata": pages}})
    assert list(taken.searches()) == []


def test_what_the_answer_told_itself_is_not_shown_again():
    taken = grounding(webSearchQueries=["a"])
    taken.was_shown({"type": "web_search_call", "action": {"type": "search", "queries": ["a"]}})
    assert list(taken.searches()) == []


@pytest.mark.parametrize("metadata", [None, 1, [], {"groundingChunks": {}, "groundingSupports": 1}])
def test_metadata_of_another_form_says_nothing(metadata):
    taken = Grounding()
    taken.take({"groundingMetadata": metadata, "citationMetadata": metadata})
    assert taken.annotations("a") == list(taken.searches()) == []


# In a stream


def test_a_stream_cites_its_words_and_shows_its_search(play):
    metadata = {
        "webSearchQueries": ["weather"],
        "groundingChunks": [PAGE],
        "groundingSupports": [support("69°F (21°C)", 7, 20)],
    }
    played = play({"text": "It is: "}, {"text": "69°F (21°C)."}, groundingMetadata=metadata)
    assert played.types == ["message", "web_search_call"]
    ((note, words),) = played.annotations
    assert (note["url"], words) == ("https://a.example/1", "69°F (21°C)")


@pytest.mark.parametrize(
    "between", [{"text": "", "thought": True}, {"toolResponse": {"id": "1", "response": {}}}]
)
def test_what_ends_no_text_moves_no_citation(play, between):
    metadata = {"groundingChunks": [PAGE], "groundingSupports": [support("ab c", 0, 4)]}
    tool = {"toolCall": {"toolType": "FILE_SEARCH", "id": "1", "args": {"query": "q"}}}
    played = play(tool, {"text": "ab "}, between, {"text": "cd"}, groundingMetadata=metadata)
    assert [words for _, words in played.annotations] == ["ab c"]


def test_a_page_that_was_read_stands_before_the_text(play_events):
    read = {"urlMetadata": [{"retrievedUrl": "https://p"}]}
    one = {"content": {"parts": [{"text": "a"}]}, "urlContextMetadata": read}
    metadata = {"groundingChunks": [PAGE], "groundingSupports": [support("ab", None, 2)]}
    two = {
        "content": {"parts": [{"text": "b"}]},
        "finishReason": "STOP",
        "groundingMetadata": metadata,
    }
    played = play_events({"candidates": [one]}, {"candidates": [two]})
    assert played.types == ["web_search_call", "message"]
    assert [words for _, words in played.annotations] == ["ab"]


def test_citations_come_before_the_seal_of_the_text(play):
    metadata = {"groundingChunks": [PAGE], "groundingSupports": [support("ab", None, 2)]}
    played = play({"text": "ab", "thoughtSignature": "c2ln"}, groundingMetadata=metadata)
    assert played.types == ["message", "reasoning"]
    assert [words for _, words in played.annotations] == ["ab"]
