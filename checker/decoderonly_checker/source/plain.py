"""Expressions so simple that their code can be told from what they mean."""

from __future__ import annotations

import libcst as cst

_SUMS = cst.Add | cst.Subtract
_TERMS = cst.Add | cst.Subtract | cst.Multiply | cst.Divide | cst.FloorDivide | cst.Modulo


def says_all(node: cst.CSTNode) -> bool:
    """Whether the parentheses of a node's code, if it has any, say nothing."""
    if isinstance(node, cst.Comparison):
        return _is_sum(node.left) and all(_is_simple(one.comparator) for one in node.comparisons)
    if isinstance(node, cst.UnaryOperation):
        return _is_simple(node.expression)
    return _is_sum(node)


def _is_sum(node: cst.CSTNode) -> bool:
    while isinstance(node, cst.BinaryOperation) and _is_simple(node.right):
        left = node.left
        if isinstance(left, cst.BinaryOperation) and not (
            isinstance(node.operator, _SUMS) and isinstance(left.operator, _TERMS)
        ):
            return False
        node = left
    return _is_simple(node)


def _is_simple(node: cst.CSTNode) -> bool:
    """Whether a node has no operators, at any depth."""
    pending: list[cst.CSTNode] = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, cst.Attribute):
            pending.append(one.value)
        elif isinstance(one, cst.Call):
            pending += [one.func, *(arg.value for arg in one.args)]
        elif isinstance(one, cst.Subscript):
            pending.append(one.value)
            for element in one.slice:
                if not isinstance(element.slice, cst.Index):
                    return False
                pending.append(element.slice.value)
        elif not isinstance(one, cst.Name | cst.Integer | cst.SimpleString):
            return False
    return True
