"""What each owner may ask for."""

import pytest

from ws_bridge.config import KeyRules
from ws_bridge.errors import ModelNotFound
from ws_bridge.server.client_rules import ClientRules


def test_an_owner_without_rules_may_ask_for_anything():
    rules = ClientRules({"name:a": KeyRules(models=("gpt-*",), running=2)})
    assert rules.allowed("name:a", ["gpt-1", "other"]) == ["gpt-1"]
    assert rules.allowed("name:b", ["gpt-1", "other"]) == ["gpt-1", "other"]
    assert (rules.of("name:a").running, rules.of("name:b")) == (2, KeyRules())


def test_a_model_that_may_not_be_asked_for_is_none():
    rules = ClientRules({"name:a": KeyRules(models=("gpt-*",))})
    rules.check_model("name:a", "gpt-1")
    with pytest.raises(ModelNotFound, match="'other' does not exist or is not enabled"):
        rules.check_model("name:a", "other")
    rules.replace({})
    rules.check_model("name:a", "other")
