"""What in the graph of a SavedModel leads to what, and with which operations: `SavedGraph`.

The fields are those of MetaGraphDef, in tensorflow/core/protobuf/meta_graph.proto. Where a file
gives twice what a parser would take once, all of it counts here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from beamvec.transforms.files.wire_format import Message


@dataclass
class SavedGraph:
    """What in a graph leads to what.

    A vertex is a node of the main graph, by its name, or a function of the library, by its name
    after a blank, which no name of a node has.

    Attributes:
        leads_to: the vertices that each one takes inputs from, waits for, or calls.
        operations: in each.
        named: those that something other than a vertex leads to: a signature, an object, an
            initialiser, a gradient.
        savers: those that saving starts from.
        restorers: those that restoring starts from.
    """

    leads_to: dict[str, set[str]] = field(default_factory=dict)
    operations: dict[str, set[str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    savers: set[str] = field(default_factory=set)
    restorers: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, meta_graph: Message) -> SavedGraph:
        """Read a MetaGraphDef.

        Raises:
            DamagedError: if it is none.
        """
        graph = cls()
        for node in meta_graph.find(2, 1):
            name = node.read(1)
            graph._add(name, [node])
            graph.leads_to[name] |= _nodes_of(node.find(3))
        for function in meta_graph.find(2, 2, 1):
            for name in _functions(function.find(1, 1)) or {" "}:
                graph._add(name, function.find(3))
                # The optimiser may call one function for another with the same such attribute.
                if any(attribute.read(1) == "api_implements" for attribute in function.find(5)):
                    graph.named.add(name)
        graph.named |= _find_named(meta_graph)
        graph.savers = _nodes_of(meta_graph.find(3, 2))
        graph.restorers = _nodes_of(meta_graph.find(3, 3))
        return graph

    def reach(self, starts: Iterable[str]) -> set[str]:
        """Return the vertices that some lead to, with themselves."""
        reached: set[str] = set()
        left = list(starts)
        while left:
            vertex = left.pop()
            if vertex in self.leads_to and vertex not in reached:
                reached.add(vertex)
                left += self.leads_to[vertex]
        return reached

    def _add(self, vertex: str, nodes: Iterable[Message]) -> None:
        leads_to = self.leads_to.setdefault(vertex, set())
        operations = self.operations.setdefault(vertex, set())
        for node in nodes:
            names = [operation.text() for operation in node.find(2)]
            operations.update(names)
            # A function can be called as if it were an operation.
            leads_to.update(f" {name}" for name in names)
            leads_to |= _functions(_called(node.find(5, 2)))


def _find_named(meta_graph: Message) -> set[str]:
    """Return what collections, signatures, objects and gradients name."""
    collections = _nodes_of(meta_graph.find(4, 2, 1, 1))
    signatures = _nodes_of(_tensors(meta_graph.find(5, 2, 2, 2)))
    concrete = _functions(meta_graph.find(7, 2, 1))
    gradients = (*meta_graph.find(2, 2, 2), *meta_graph.find(2, 2, 3))
    return (collections | signatures | concrete).union(
        *(_functions(name for _, name in gradient) for gradient in gradients)
    )


def _nodes_of(tensors: Iterable[Message]) -> set[str]:
    """Return the nodes that tensors, `name:0`, and control inputs, `^name`, come from."""
    return {tensor.text().removeprefix("^").split(":")[0] for tensor in tensors}


def _functions(names: Iterable[Message]) -> set[str]:
    return {f" {name.text()}" for name in names}


def _called(values: Iterable[Message]) -> Iterator[Message]:
    """Yield the names of functions in attributes (AttrValue), also in arguments of functions."""
    left = list(values)
    while left:
        for number, content in left.pop():
            functions = content.find(9) if number == 1 else [content] if number == 10 else []
            for function in functions:
                yield from function.find(1)
                left += function.find(2, 2)


def _tensors(infos: Iterable[Message]) -> Iterator[Message]:
    """Yield the names of the tensors that outputs of signatures consist of (TensorInfo)."""
    left = list(infos)
    while left:
        for number, content in left.pop():
            if number == 1:
                yield content
            elif number == 4:  # A sparse tensor, of three.
                yield from (name for _, name in content)
            elif number == 5:  # A composite one, of any number.
                left += content.find(2)
