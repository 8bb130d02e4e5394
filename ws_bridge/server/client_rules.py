"""What each client may ask for, by the owner of what it makes. A reload changes it as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ws_bridge.config import KeyRules
from ws_bridge.config.client_keys import ANYTHING
from ws_bridge.errors import ModelNotFound


class ClientRules:
    """The rules of all owners; one that has none may ask for anything, within ``[limits]``."""

    def __init__(self, rules: Mapping[str, KeyRules]) -> None:
        self.replace(rules)

    def replace(self, rules: Mapping[str, KeyRules]) -> None:
        """Have these rules from now on."""
        self._rules = rules

    def of(self, owner: str) -> KeyRules:
        """The rules of an owner."""
        return self._rules.get(owner, ANYTHING)

    def check_model(self, owner: str, model: str) -> None:
        """Raise ``ModelNotFound``, as for an unknown model, for one that it may not ask for."""
        if not self.of(owner).allows(model):
            raise ModelNotFound(model)

    def allowed(self, owner: str, models: Iterable[str]) -> list[str]:
        """Of some models those that the owner may ask for."""
        rules = self.of(owner)
        return [model for model in models if rules.allows(model)]
