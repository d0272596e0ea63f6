//! Direct calls and jumps in RV32IMAC code (RISC-V unprivileged ISA: chapters RV32I and "C").

/// Absolute targets of the calls and jumps in `code`, which is linked at `address`.
pub(super) fn jumps(code: &[u8], address: u32) -> Vec<u32> {
    let mut targets = Vec::new();
    // Upper half of an address that `auipc` left in a register, for the `jalr` right after it.
    let mut upper: Option<(u32, u32)> = None;
    let mut at = 0;
    while let Some(instruction) = fetch(&code[at..]) {
        let pc = address.wrapping_add(offset(at));
        let previous = upper.take();
        match instruction {
            Instruction::Compressed(word) => {
                targets.extend(compressed_jump(word).map(|jump| pc.wrapping_add(jump)));
            }
            Instruction::Full(word) => match word & 0x7F {
                JAL => targets.push(pc.wrapping_add(jal_offset(word))),
                AUIPC => upper = Some((register(word >> 7), pc.wrapping_add(word & 0xFFFF_F000))),
                JALR => {
                    if let Some((_, base)) = previous.filter(|(to, _)| *to == register(word >> 15))
                    {
                        targets.push(base.wrapping_add(signed(word >> 20, 12)));
                    }
                }
                _ => {}
            },
        }
        at += instruction.length();
    }
    targets
}

const JAL: u32 = 0b110_1111;
const JALR: u32 = 0b110_0111;
const AUIPC: u32 = 0b001_0111;

#[derive(Clone, Copy)]
enum Instruction {
    Compressed(u32),
    Full(u32),
}

impl Instruction {
    fn length(self) -> usize {
        match self {
            Self::Compressed(_) => 2,
            Self::Full(_) => 4,
        }
    }
}

/// Instructions with both lowest bits set are 32 bits long, all others 16.
fn fetch(code: &[u8]) -> Option<Instruction> {
    let half = u16::from_le_bytes(*code.first_chunk()?);
    if half & 3 == 3 {
        Some(Instruction::Full(u32::from_le_bytes(*code.first_chunk()?)))
    } else {
        Some(Instruction::Compressed(half.into()))
    }
}

/// Distance of `c.j` (funct3 101) and `c.jal` (001, RV32 only) in quadrant 1.
fn compressed_jump(word: u32) -> Option<u32> {
    if word & 3 != 1 || ![0b001, 0b101].contains(&(word >> 13)) {
        return None;
    }
    let bit = |from: u32, to: u32| (word >> from & 1) << to;
    let distance = bit(12, 11) | bit(11, 4) | bit(10, 9) | bit(9, 8) | bit(8, 10) | bit(7, 6);
    let distance = distance | bit(6, 7) | bit(5, 3) | bit(4, 2) | bit(3, 1) | bit(2, 5);
    Some(signed(distance, 12))
}

/// imm[20|10:1|11|19:12] of a J-type instruction.
fn jal_offset(word: u32) -> u32 {
    let distance = (word >> 31 << 20)
        | (word & 0x000F_F000)
        | (word >> 20 & 1) << 11
        | (word >> 21 & 0x3FF) << 1;
    signed(distance, 21)
}

fn register(bits: u32) -> u32 {
    bits & 31
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

    /// Assembled with LLVM for `riscv32imac` at 0x8000_0000; the comment is its disassembly.
    #[test]
    fn finds_every_form_of_direct_jump() {
        let cases: [(&[u8], u32); 6] = [
            (&[0xEF, 0x00, 0x00, 0x10], 0x8000_0100), // jal ra, +0x100
            (&[0xEF, 0xF0, 0x1F, 0xF0], 0x7FFF_FF00), // jal ra, -0x100
            (&[0x6F, 0x00, 0x00, 0x10], 0x8000_0100), // j +0x100
            (&[0x01, 0x22], 0x8000_0100),             // c.jal +0x100
            (&[0x01, 0xB7], 0x7FFF_FF00),             // c.j -0x100
            // auipc ra, 0x12; jalr ra, -0x10(ra)
            (&[0x97, 0x20, 0x01, 0x00, 0xE7, 0x80, 0x00, 0xFF], 0x8001_1FF0),
        ];
        for (code, target) in cases {
            assert_eq!(jumps(code, 0x8000_0000), [target], "{code:02x?}");
        }
    }

    #[test]
    fn indirect_jumps_and_other_code_have_no_target() {
        let ret = [0x82, 0x80]; // c.jr ra
        let add = [0x33, 0x05, 0xB5, 0x00]; // add a0, a0, a1
        let jalr = [0xE7, 0x80, 0x05, 0x00]; // jalr ra, 0(a1)
        let other_register = [0x97, 0x20, 0x01, 0x00, 0xE7, 0x80, 0x05, 0x00];
        let code = [&ret[..], &add, &jalr, &other_register].concat();
        assert!(jumps(&code, 0).is_empty());
    }
}
