"""Every text of the code that advises a value is in a situation of test_remedies.py, or here with its reason."""

import ast
import re

from tests.processes import ROOT
from tests.test_remedies import CONFIGS, DATA

NO_ADVICE = {
    "but it must be at least 1: set it to 1 or more": "the arguments of a function; the config has bounds",
    "a name such as mnist": "it is help",
    "a value of --config.": "it names no field",
    "or say --config.model.name=FAMILY": "the user chooses",
    "leave it out": "it is no field",
    "which mirrors images, but": "the check of what signals cannot have tests it",
    "changes what only signals have": "a field that is left out has no value",
    "config.data.group_pattern={group_pattern} finds nothing": "it names what is wrong",
    "more than config.data.max_megapixels": "it names what is wrong",
    "this net has no class activation map": "another net has to be trained",
    "square:N, config.model.input_side=N": "the user chooses",
    "pad all to one length": "the pads are made by the family dense",
    "lower --config.train.learning_rate": "the user chooses",
    "config.model.norm=batch, or ": "it is a part of another text",
    "looking for the largest that does": "the search goes on",
    "for the mean of a signal's channels": "it is the rest of another text",
    "signals are resampled to": "it says what is done",
    "by config.seed=": "it says what is done",
    "finds an empty group in": "it names what is wrong",
    "only files are resampled: leave it 0": "the value is 0 by default",
    "a new run with --config.schedule.rows_multiple_of=": "see the test of what devices cost",
}
ADVISES = re.compile(
    r"--config\.|(?<![\w.-])config\.[\w.{}\[\]]+=(?!=)|\b(set|leave|leave out) config\.|\b(set|leave) it "
)


def texts_of_the_code() -> list[str]:
    """All texts in the code, except docstrings; what is filled in stands in braces."""
    texts = []
    for path in sorted((ROOT / "fcn_jax").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        inner = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        inner |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else f"{{{ast.unparse(p.value)}}}" for p in node.values)  # pyright: ignore
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                texts.append(node.value)
    return texts


def test_all_advice_is_followed_somewhere():
    known = [*(situation.said for situation in CONFIGS), *DATA, *NO_ADVICE]
    advice = [text for text in texts_of_the_code() if ADVISES.search(text)]
    assert len(advice) > 20
    assert [text for text in advice if not any(words in text for words in known)] == []
    assert [words for words in known if not any(words in text for text in advice)] == []
