"""Arrows lie on the deepest level that holds both files, and a cycle of them is found there."""

from support.layout import arrows_in_cycles, cycles, file_of, imports_between, levels, reachable

FILES = {
    "__init__.py": "",
    "app.py": "from house.web import page\n",
    "web/__init__.py": "",
    "web/page.py": "from house.web.parts.text import Text\nimport house.low\nimport json\n",
    "web/parts/__init__.py": "",
    "web/parts/text.py": "from house.web.size import WIDTH\n",
    "web/size.py": "from house.web.parts import text\n",
    "low.py": "import house.low\n",
}
BETWEEN = {
    ("app.py", "web/page.py"),
    ("web/page.py", "web/parts/text.py"),
    ("web/page.py", "low.py"),
    ("web/parts/text.py", "web/size.py"),
    ("web/size.py", "web/parts/text.py"),
}


def test_imports_lead_from_file_to_file(tmp_path):
    package = tmp_path / "house"
    for file, source in FILES.items():
        path = package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert imports_between(FILES, package) == BETWEEN


def test_a_module_of_another_package_has_no_file_here():
    assert file_of("json.decoder", "house", FILES) is None
    assert file_of("house", "house", FILES) == "__init__.py"
    assert file_of("house.web", "house", FILES) == "web/__init__.py"
    assert file_of("house.low.NAME", "house", FILES) == "low.py"


def test_each_level_has_the_arrows_between_its_rooms():
    assert levels(BETWEEN) == {
        "": {("app.py", "web"), ("web", "low.py")},
        "web": {("page.py", "parts"), ("parts", "size.py"), ("size.py", "parts")},
    }


def test_rooms_that_import_each_other_are_a_cycle():
    arrows = {("a", "b"), ("b", "c"), ("c", "b"), ("d", "d")}
    assert cycles(arrows) == [["b", "c"]]
    assert arrows_in_cycles(arrows) == [("b", "c"), ("c", "b")]
    assert reachable(arrows)["a"] == {"b", "c"}
