"""Additional wordings of plain questions for ``wording: "varied"``: with the plain ones, twelve or more per style.

Our own parser reads each of them, operands and operator included. All were written for this project.
"""

from __future__ import annotations

from arithmoscope.contracts.prompts import Operation, Style
from arithmoscope.prompts.language.templates import TEMPLATES, Template

# Equations of any operation; {sign} is one of its signs.
_EQUATIONS = (
    "{a}{sign}{b}=",
    "({a} {sign} {b}) =",
    "Calculate: {a} {sign} {b} =",
    "Compute {a} {sign} {b} =",
    "Solve: {a} {sign} {b} =",
    "Evaluate {a} {sign} {b} =",
    "Find {a} {sign} {b} =",
    "Work out {a} {sign} {b} =",
    "What is {a} {sign} {b} =",
    "Please calculate {a} {sign} {b} =",
    "The result: {a} {sign} {b} =",
)
_SIGNS: dict[Operation, tuple[str, ...]] = {
    "add": ("+",),
    "subtract": ("-", "−"),
    "multiply": ("*", "×"),
    "divide": ("/", "÷"),
    "power": ("^", "**"),
}

# Two infix forms of each operation.
_INFIX: dict[Operation, tuple[str, str]] = {
    "add": ("plus", "added to"),
    "subtract": ("minus", "reduced by"),
    "multiply": ("times", "multiplied by"),
    "divide": ("divided by", "over"),
    "power": ("to the power of", "raised to the power of"),
}
_INFIX_STATEMENTS = (
    "{a} {one} {b} is",
    "{a} {one} {b} equals",
    "{a} {other} {b} is",
    "{a} {other} {b} equals",
    "{a} {other} {b} gives",
    "The result of {a} {one} {b} is",
    "The value of {a} {one} {b} is",
    "The answer to {a} {one} {b} is equal to",
    "The outcome of {a} {other} {b} is",
)
_INFIX_QUESTIONS = (
    "Q: What is {a} {one} {b}? A:",
    "Q: What is {a} {other} {b}? A:",
    "Q: What does {a} {one} {b} equal? A:",
    "Q: How much does {a} {other} {b} equal? A:",
    "Q: Calculate {a} {one} {b}. A:",
    "Q: Can you work out {a} {one} {b}? A:",
    "Q: Tell me the value of {a} {one} {b}. A:",
    "Q: What is the result of {a} {other} {b}? A:",
    "Question: What is {a} {one} {b}? Answer:",
    "Question: Compute {a} {other} {b}. Answer:",
)
_FRAMES: dict[Style, tuple[str, ...]] = {"statement": _INFIX_STATEMENTS, "question": _INFIX_QUESTIONS}

# Wordings that only one operation has.
_OWN: tuple[tuple[Operation, Style, str], ...] = (
    ("add", "statement", "The addition of {a} and {b} is"),
    ("add", "statement", "The total of {a} and {b} is"),
    ("add", "statement", "Adding {a} to {b} gives"),
    ("add", "question", "Q: What is the total of {a} and {b}? A:"),
    ("add", "question", "Q: Add {a} and {b}. A:"),
    ("subtract", "statement", "The subtraction of {a} and {b} is"),
    ("subtract", "statement", "The difference between {a} and {b} is"),
    ("subtract", "statement", "Subtracting {b} from {a} gives"),
    ("subtract", "question", "Q: What is the difference between {a} and {b}? A:"),
    ("subtract", "question", "Q: Subtract {b} from {a}. A:"),
    ("multiply", "statement", "The multiplication of {a} and {b} is"),
    ("multiply", "statement", "The product of {a} and {b} equals"),
    ("multiply", "statement", "Multiplying {a} by {b} gives"),
    ("multiply", "question", "Q: Find the product of {a} and {b}. A:"),
    ("multiply", "question", "Q: Multiply {a} by {b}. A:"),
    ("divide", "statement", "The division of {a} and {b} is"),
    ("divide", "statement", "The quotient of {a} and {b} equals"),
    ("divide", "statement", "Dividing {a} by {b} gives"),
    ("divide", "question", "Q: Find the quotient of {a} and {b}. A:"),
    ("divide", "question", "Q: Divide {a} by {b}. A:"),
    ("power", "statement", "Raising {a} to the power of {b} gives"),
    ("power", "statement", "{a} raised to {b} is equal to"),
    ("power", "statement", "{a} to the power {b} is"),
    ("power", "question", "Q: Raise {a} to the power of {b}. A:"),
    ("power", "question", "Q: How much is {a} raised to {b}? A:"),
)


def _varied_templates() -> tuple[Template, ...]:
    templates: list[Template] = []
    for operation, (one, other) in _INFIX.items():
        first, *more = _SIGNS[operation]
        texts = [(text, first) for text in _EQUATIONS] + [("{a} {sign} {b} =", sign) for sign in more]
        # Addition has a single sign, so it gets its own twelfth wording.
        texts += [("Sum: {a} {sign} {b} =", first)] if not more else []
        templates += [Template(operation, "equation", text.replace("{sign}", sign)) for text, sign in texts]
        for style, frames in _FRAMES.items():
            for text in frames:
                words = text.replace("{one}", one).replace("{other}", other)
                templates.append(Template(operation, style, words))
        templates += [Template(operation, style, text) for own, style, text in _OWN if own == operation]
    return tuple(template for template in templates if template not in TEMPLATES)


VARIED: tuple[Template, ...] = _varied_templates()
