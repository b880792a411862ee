"""What all functions that write a graph anew do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_OPSET = 13  # the first whose Q/DQ pairs know channels
_IR_OF_OPSET = {19: 9, 22: 10}  # least version of the file format that knows the types of an opset


def named(model: Any, opset: int = _LEAST_OPSET) -> Any:
    """Return a copy whose nodes all have a name of their own.

    Args:
        model: An ``onnx.ModelProto``; left as it is.
        opset: Least version of the standard that the copy shall follow: 13, 19 or 22.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    found = next((each for each in copy.opset_import if each.domain in ("", "ai.onnx")), None)
    if found is not None and found.version < opset:
        copy = onnx.version_converter.convert_version(copy, opset)
        copy.ir_version = max(copy.ir_version, _IR_OF_OPSET.get(opset, 0))
    taken: set[str] = set()
    for k, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{k}"
        taken.add(node.name)
    return copy


def constants(graph: Any) -> dict[str, Any]:
    """Return the tensors of all constants by name: initializers, and values of nodes."""
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def kinds(model: Any) -> dict[str, int]:
    """Return the type of each tensor, as a number of ``onnx.TensorProto``, constants included.

    Args:
        model: Whose values run through the main graph only.
    """
    import onnx

    typed = onnx.shape_inference.infer_shapes(model).graph
    found = {
        each.name: int(each.type.tensor_type.elem_type)
        for each in (*typed.input, *typed.value_info, *typed.output)
    }
    return found | {name: int(tensor.data_type) for name, tensor in constants(model.graph).items()}


def add(graph: Any, name: str, values: NDArray[Any]) -> None:
    """Add a constant."""
    import onnx

    graph.initializer.append(onnx.numpy_helper.from_array(values, name))


def replace(graph: Any, nodes: list[Any]) -> None:
    """Set the nodes of a graph, and drop constants that none of them reads any more."""
    # nodes may lie in the list that is emptied: copies outlive it
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    read = {name for node in copies for name in node.input} | {out.name for out in graph.output}
    del graph.node[:]
    graph.node.extend(
        node for node in copies if node.op_type != "Constant" or node.output[0] in read
    )
    kept = [
        type(each).FromString(each.SerializeToString())
        for each in graph.initializer
        if each.name in read
    ]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    # old exporters name weights among the inputs too
    given = {each.name for each in kept} | {out for node in copies for out in node.output}
    inputs = [
        type(each).FromString(each.SerializeToString())
        for each in graph.input
        if each.name in read and each.name not in given
    ]
    del graph.input[:]
    graph.input.extend(inputs)
