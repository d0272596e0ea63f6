//! Direct calls and jumps in Thumb-2 code (Armv7-M Architecture Reference Manual, A5 and A7.7.12, A7.7.18).

/// Absolute targets of the calls and jumps in `code`, which is linked at `address`.
pub(super) fn jumps(code: &[u8], address: u32) -> Vec<u32> {
    let mut targets = Vec::new();
    let mut at = 0;
    while let Some(first) = half(code, at) {
        let pc = address.wrapping_add(offset(at)).wrapping_add(4);
        // Five highest bits 11101, 11110 and 11111 begin 32-bit instructions.
        if first >> 11 < 0b11101 {
            targets.extend(narrow_jump(first).map(|jump| pc.wrapping_add(jump)));
            at += 2;
        } else {
            let Some(second) = half(code, at + 2) else { break };
            targets.extend(wide_jump(first, second).map(|jump| pc.wrapping_add(jump)));
            at += 4;
        }
    }
    targets
}

/// Distance of `b` in its 16-bit forms T1 (conditional) and T2.
fn narrow_jump(word: u32) -> Option<u32> {
    match word >> 11 {
        0b11100 => Some(signed((word & 0x7FF) << 1, 12)),
        // Conditions 14 and 15 are other instructions.
        0b11010 | 0b11011 if word >> 9 != 0b110_1111 => Some(signed((word & 0xFF) << 1, 9)),
        _ => None,
    }
}

/// Distance of `b.w` in its forms T3 (conditional) and T4, and of `bl`.
fn wide_jump(first: u32, second: u32) -> Option<u32> {
    if first >> 11 != 0b11110 || second >> 15 != 1 {
        return None;
    }
    let bit = |word: u32, at: u32| word >> at & 1;
    let sign = bit(first, 10);
    let (j1, j2) = (bit(second, 13), bit(second, 11));
    match (bit(second, 14), bit(second, 12)) {
        (_, 1) => {
            let (i1, i2) = (j1 ^ sign ^ 1, j2 ^ sign ^ 1);
            let distance = sign << 24 | i1 << 23 | i2 << 22;
            Some(signed(distance | (first & 0x3FF) << 12 | (second & 0x7FF) << 1, 25))
        }
        // Conditions 14 and 15 are other instructions.
        (0, 0) if first >> 7 & 0b111 != 0b111 => {
            let distance = sign << 20 | j2 << 19 | j1 << 18;
            Some(signed(distance | (first & 0x3F) << 12 | (second & 0x7FF) << 1, 21))
        }
        _ => None,
    }
}

fn half(code: &[u8], at: usize) -> Option<u32> {
    code.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes).into())
}

/// Extends the sign of a `width`-bit number.
fn signed(value: u32, width: u32) -> u32 {
    let sign = 1 << (width - 1);
    (value ^ sign).wrapping_sub(sign)
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a function of a 32-bit machine is smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Assembled with LLVM for `thumbv7em` at 0x40_0000; the comment is its disassembly.
    #[test]
    fn finds_every_form_of_direct_jump() {
        let cases: [(&[u8], u32); 8] = [
            (&[0x00, 0xF0, 0x7E, 0xF8], 0x40_0100), // bl +0x100
            (&[0xFE, 0xF7, 0xFC, 0xFF], 0x3F_EFFC), // bl -0x1004
            (&[0x00, 0xF0, 0x7A, 0xB8], 0x40_00F8), // b.w +0xF8
            (&[0xFE, 0xF7, 0xF8, 0xBF], 0x3F_EFF4), // b.w -0x100C
            (&[0x40, 0xF0, 0x76, 0x80], 0x40_00F0), // bne.w +0xF0
            (&[0x3E, 0xF4, 0xF4, 0xAF], 0x3F_EFEC), // beq.w -0x1014
            (&[0x12, 0xE0], 0x40_0028),             // b +0x28
            (&[0xFD, 0xD1], 0x3F_FFFE),             // bne -0x2
        ];
        for (code, target) in cases {
            assert_eq!(jumps(code, 0x40_0000), [target], "{code:02x?}");
        }
    }

    #[test]
    fn indirect_jumps_and_other_code_have_no_target() {
        let bx = [0x70, 0x47]; // bx lr
        let blx = [0x98, 0x47]; // blx r3
        let udf = [0xFE, 0xDE]; // udf #254
        let svc = [0x01, 0xDF]; // svc #1
        let add = [0x00, 0xEB, 0x01, 0x00]; // add.w r0, r0, r1
        let msr = [0x80, 0xF3, 0x10, 0x88]; // msr PRIMASK, r0
        let dsb = [0xBF, 0xF3, 0x4F, 0x8F]; // dsb sy
        let code = [&bx[..], &blx, &udf, &svc, &add, &msr, &dsb].concat();
        assert!(jumps(&code, 0).is_empty());
    }
}
