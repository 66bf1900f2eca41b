"""The recurrence of `baselines.layers.recurrence` in ONNX: a Scan over positions, so that T may be anything.

onnxruntime 1.32 refuses a Scan over nothing, so that a row of zeros stands behind the positions; its state is left out.
"""

import onnx
import onnx.inliner
import onnx.parser

DOMAIN, OPSET = "dien_bench", 18
CANDIDATE = {
    "RecurrenceAfter": "gc = MatMul(h, wc) gated = Mul(r, gc)",  # the paper's candidate: tanh(x + r o (h U))
    "RecurrenceBefore": "rh = Mul(r, h) gated = MatMul(rh, wc)",  # TensorFlow's: tanh(x + (r o h) U)
}
# h_t = h_{t-1} + (p_t + q_t u_t) (c_t - h_{t-1}), in ONNX's text format
TEXT = """
<domain: "dien_bench", opset_import: ["": 18]>
%s (x, weight, p, q) => (states) {
    wu, wr, wc = Split <axis = 1, num_outputs = 3> (weight)
    wg = Concat <axis = 1> (wu, wr)
    count = Shape <start = 1, end = 2> (x)
    width = Shape <start = 2> (x)
    size = Shape <start = 0, end = 1> (weight)
    one = Constant <value_ints = [1]> ()
    state_shape = Concat <axis = 0> (count, size)
    row_shape = Concat <axis = 0> (one, count, width)
    number_shape = Concat <axis = 0> (one, count, one)
    start = ConstantOfShape (state_shape)
    row = ConstantOfShape (row_shape)
    number = ConstantOfShape (number_shape)
    xs = Concat <axis = 0> (x, row)
    ps = Concat <axis = 0> (p, number)
    qs = Concat <axis = 0> (q, number)
    end, all = Scan <num_scan_inputs = 3, body = step
        (float[N, H] h, float[N, G] x_t, float[N, 1] p_t, float[N, 1] q_t) => (float[N, H] new, float[N, H] state) {
        xu, xr, xc = Split <axis = 1, num_outputs = 3> (x_t)
        g = MatMul(h, wg)
        gu, gr = Split <axis = 1, num_outputs = 2> (g)
        su = Add(xu, gu)
        u = Sigmoid(su)
        sr = Add(xr, gr)
        r = Sigmoid(sr)
        %s
        sc = Add(xc, gated)
        c = Tanh(sc)
        qu = Mul(q_t, u)
        gate = Add(p_t, qu)
        difference = Sub(c, h)
        change = Mul(gate, difference)
        new = Add(h, change)
        state = Identity(new)
    }> (start, xs, ps, qs)
    from = Constant <value_ints = [0]> ()
    to = Constant <value_ints = [-1]> ()
    states = Slice(all, from, to, from)
}
"""


def with_recurrences(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph in which the nodes of `DOMAIN` are what they stand for."""
    kinds = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    if not kinds:
        return model
    model.functions.extend(onnx.parser.parse_function(TEXT % (kind, CANDIDATE[kind])) for kind in kinds)
    inlined: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    return inlined
