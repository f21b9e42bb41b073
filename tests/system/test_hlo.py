"""Bytes, launches and collectives, counted from the text of HLO."""

import jax
import jax.numpy as jnp

from fcn_jax.system.hlo import Traffic, bytes_of, traffic_of

PROGRAM = """HloModule jit_f, is_scheduled=true

%fused (param_0: bf16[8,128]) -> bf16[8,128] {
  %param_0 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %double = bf16[8,128]{1,0:T(8,128)(2,1)} add(%param_0, %param_0)
}

%body (state: (s32[], f32[100])) -> (s32[], f32[100]) {
  %state = (s32[], f32[100]{0}) parameter(0)
  %count = s32[] get-tuple-element(%state), index=0
  %values = f32[100]{0} get-tuple-element(%state), index=1
  %next = s32[] add(%count, %count)
  %more = f32[100]{0} negate(%values)
  ROOT %both = (s32[], f32[100]{0}) tuple(%next, %more)
}

%condition (state.1: (s32[], f32[100])) -> pred[] {
  %state.1 = (s32[], f32[100]{0}) parameter(0)
  %count.1 = s32[] get-tuple-element(%state.1), index=0
  ROOT %less = pred[] compare(%count.1, %count.1), direction=LT
}

ENTRY %main (x: bf16[8,128], y: f32[100]) -> f32[100] {
  %x = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %y = f32[100]{0} parameter(1)
  %far = bf16[8,128]{1,0:T(8,128)(2,1)} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="a(b)=c"}
  %near = bf16[8,128]{1,0:T(8,128)(2,1)S(1)} fusion(%far), kind=kLoop, calls=%fused
  %start = (f32[100]{0}, f32[100]{0}, u32[]) copy-start(%y)
  %copied = f32[100]{0} copy-done(%start)
  %zero = s32[] constant(0)
  %begin = (s32[], f32[100]{0}) tuple(%zero, %copied)
  %loop = (s32[], f32[100]{0}) while(%begin), condition=%condition, body=%body, config={"known_trip_count":{"n":"7"}}
  %summed = f32[100]{0} get-tuple-element(%loop), index=1
  ROOT %all = f32[100]{0} all-reduce(%summed), replica_groups={}, to_apply=%condition
}
"""


def test_bytes_of_types():
    assert bytes_of("bf16[8,128]{1,0:T(8,128)(2,1)}") == 2048
    assert bytes_of("(f32[3]{0}, pred[5]{0}, u32[], /*index=3*/s4[10])") == 12 + 5 + 4 + 5
    assert bytes_of("f8e4m3fn[16]{0}") == 16
    assert bytes_of("token[]") == 0
    assert bytes_of("f32[1000]{0:S(1)}") == 0


def test_a_program_is_counted_by_hand():
    far, near, copied, looped, reduced = 4096, 2048, 800, 7 * (8 + 4 + 800), 800
    found = traffic_of(PROGRAM)
    assert found == Traffic(
        far + near + copied + looped + reduced, launches=2 + 1 + 7 * 2 + 1, fusions=2, collectives=1
    )


def test_a_loop_that_xla_compiles_counts_as_often_as_it_runs():
    def moved(length: int) -> float:
        def body(x, _):
            return jnp.sin(x @ x), None

        compiled = jax.jit(lambda x: jax.lax.scan(body, x, length=length)[0]).lower(jnp.zeros((64, 64))).compile()
        return traffic_of(compiled.as_text()).bytes

    few, many = moved(10), moved(40)
    assert 3 < many / few < 4.5


def test_every_byte_of_a_plain_function_is_counted():
    compiled = jax.jit(lambda x: jnp.tanh(x) + 1).lower(jnp.zeros((1000, 10))).compile()
    assert traffic_of(compiled.as_text()).bytes == 2 * 4 * 10_000
