"""The recurrence of `baselines.layers.recurrence` in ONNX: a Scan over positions, so that T may be anything.

With `buckets` histories of up to so many positions take a loop that is written out instead: the smallest that holds
them, the positions behind T having p = q = 0, which leaves the state what it is. Longer ones take the Scan.
onnxruntime 1.32 refuses a Scan over nothing, so that a row of zeros stands behind the positions; its state is left out.
"""

from collections.abc import Sequence

import onnx
import onnx.inliner
import onnx.parser

DOMAIN, OPSET = "dien_bench", 18
BUCKETS = (10, 20, 50, 100)
CANDIDATE = {
    "RecurrenceAfter": "gc{t} = MatMul({h}, wc) gated{t} = Mul(r{t}, gc{t})",  # the paper's: tanh(x + r o (h U))
    "RecurrenceBefore": "rh{t} = Mul(r{t}, {h}) gated{t} = MatMul(rh{t}, wc)",  # TensorFlow's: tanh(x + (r o h) U)
}
# h_t = h_{t-1} + (p_t + q_t u_t) (c_t - h_{t-1}), in ONNX's text format; {h} is the state before, {new} the one after
STEP = """
        g{t} = MatMul({h}, wg)
        sg{t} = Add(xg{t}, g{t})
        ur{t} = Sigmoid(sg{t})
        u{t}, r{t} = Split <axis = -1, num_outputs = 2> (ur{t})
        {candidate}
        sc{t} = Add(xc{t}, gated{t})
        c{t} = Tanh(sc{t})
        qu{t} = Mul(q{t}, u{t})
        gate{t} = Add(p{t}, qu{t})
        difference{t} = Sub(c{t}, {h})
        change{t} = Mul(gate{t}, difference{t})
        {new} = Add({h}, change{t})"""
FUNCTION = """
<domain: "dien_bench", opset_import: ["": 18]>
{kind} (x, weight, p, q) => (states) {{
    wu, wr, wc = Split <axis = 1, num_outputs = 3> (weight)
    wg = Concat <axis = 1> (wu, wr)
    positions = Shape <start = 0, end = 1> (x)
    count = Shape <start = 1, end = 2> (x)
    width = Shape <start = 2> (x)
    size = Shape <start = 0, end = 1> (weight)
    one = Constant <value_ints = [1]> ()
    from = Constant <value_ints = [0]> ()
    gates_width = Add(size, size)
    gates_end = Concat <axis = 0> (gates_width, size)
    {body}
}}
"""
SCAN = """
    row_shape{at} = Concat <axis = 0> (one, count, width)
    number_shape{at} = Concat <axis = 0> (one, count, one)
    state_shape{at} = Concat <axis = 0> (count, size)
    start{at} = ConstantOfShape (state_shape{at})
    row{at} = ConstantOfShape (row_shape{at})
    number{at} = ConstantOfShape (number_shape{at})
    xs{at} = Concat <axis = 0> (x, row{at})
    ps{at} = Concat <axis = 0> (p, number{at})
    qs{at} = Concat <axis = 0> (q, number{at})
    xgs{at}, xcs{at} = Split <axis = 2> (xs{at}, gates_end)
    last{at}, all{at} = Scan <num_scan_inputs = 4, body = step
        (float[N, H] h, float[N, G] xg{t}, float[N, H] xc{t}, float[N, 1] p{t}, float[N, 1] q{t})
        => (float[N, H] new, float[N, H] state) {{{step}
        state = Identity(new)
    }}> (start{at}, xgs{at}, xcs{at}, ps{at}, qs{at})
    {out} = Slice(all{at}, from, positions, from)"""
UNROLLED = """
    length{at} = Constant <value_ints = [{length}]> ()
    missing{at} = Sub(length{at}, positions)
    row_shape{at} = Concat <axis = 0> (missing{at}, count, width)
    number_shape{at} = Concat <axis = 0> (missing{at}, count, one)
    state_shape{at} = Concat <axis = 0> (one, count, size)
    h{at}_0 = ConstantOfShape (state_shape{at})
    row{at} = ConstantOfShape (row_shape{at})
    number{at} = ConstantOfShape (number_shape{at})
    xs{at} = Concat <axis = 0> (x, row{at})
    ps{at} = Concat <axis = 0> (p, number{at})
    qs{at} = Concat <axis = 0> (q, number{at})
    xgs{at}, xcs{at} = Split <axis = 2> (xs{at}, gates_end)
    {splits}{steps}
    all{at} = Concat <axis = 0> ({states})
    {out} = Slice(all{at}, from, positions, from)"""
CHOICE = """
    limit{at} = Constant <value_ints = [{length}]> ()
    fits{at} = LessOrEqual(positions, limit{at})
    {out} = If (fits{at}) <
        then_branch = within{at} () => (float[T, N, H] {out}_then) {{{then}
        }},
        else_branch = beyond{at} () => (float[T, N, H] {out}_else) {{{otherwise}
        }}>"""


def with_recurrences(model: onnx.ModelProto, buckets: Sequence[int] = ()) -> onnx.ModelProto:
    """Return a graph in which the nodes of `DOMAIN` are what they stand for; `buckets` ascend, none: a Scan alone."""
    kinds = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    if not kinds:
        return model
    for kind in kinds:
        text = FUNCTION.format(kind=kind, body=_body(kind, list(buckets), "states"))
        model.functions.append(onnx.parser.parse_function(text))
    inlined: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    return inlined


def _body(kind: str, buckets: list[int], out: str) -> str:
    """The nodes that compute `out` (T, N, H)."""
    if not buckets:
        step = _step(kind, "_t", "h", "new")
        return SCAN.format(at="_scan", t="_t", step=step, out=out)
    length, *longer = buckets
    return CHOICE.format(
        at=f"_{length}",
        length=length,
        out=out,
        then=_unrolled(kind, length, f"{out}_then"),
        otherwise=_body(kind, longer, f"{out}_else"),
    )


def _unrolled(kind: str, length: int, out: str) -> str:
    at = f"_{length}"
    split = "{parts} = Split <axis = 0, num_outputs = {length}> ({of})\n    "
    sources = {"xg": f"xgs{at}", "xc": f"xcs{at}", "p": f"ps{at}", "q": f"qs{at}"}
    splits = "".join(
        split.format(parts=", ".join(f"{name}{at}_{t}" for t in range(length)), length=length, of=of)
        for name, of in sources.items()
    )
    steps = "".join(_step(kind, f"{at}_{t}", f"h{at}_{t}", f"h{at}_{t + 1}") for t in range(length))
    states = ", ".join(f"h{at}_{t + 1}" for t in range(length))
    return UNROLLED.format(at=at, length=length, splits=splits, steps=steps, states=states, out=out)


def _step(kind: str, t: str, h: str, new: str) -> str:
    return STEP.format(t=t, h=h, new=new, candidate=CANDIDATE[kind].format(t=t, h=h))
