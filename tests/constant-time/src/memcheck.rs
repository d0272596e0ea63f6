//! Requests to Valgrind's memcheck (`valgrind.h`, `memcheck.h`): undefined memory stands for
//! secrets, and memcheck reports each branch and each address that depends on it.
//!
//! Without Valgrind the requests do nothing.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use core::arch::asm;

/// `VG_USERREQ__RUNNING_ON_VALGRIND`.
const RUNNING: usize = 0x1001;
/// `VG_USERREQ__MAKE_MEM_UNDEFINED`: tool base 'M' 'C', request 1.
const UNDEFINED: usize = 0x4d43_0001;
/// `VG_USERREQ__MAKE_MEM_DEFINED`.
const DEFINED: usize = 0x4d43_0002;

/// Marks bytes as secret.
pub(crate) fn classify(bytes: &[u8]) {
    request(UNDEFINED, bytes.as_ptr().addr(), bytes.len());
}

/// Marks bytes as public: what a protocol sends, or a result that the caller learns anyway.
pub(crate) fn declassify(bytes: &[u8]) {
    request(DEFINED, bytes.as_ptr().addr(), bytes.len());
}

/// Marks a whole value as public.
pub(crate) fn declassify_value<T>(value: &mut T) {
    request(DEFINED, core::ptr::from_mut(value).addr(), size_of::<T>());
}

/// Whether this program runs under Valgrind.
pub(crate) fn is_watching() -> bool {
    request(RUNNING, 0, 0) != 0
}

#[cfg(target_arch = "x86_64")]
fn request(code: usize, first: usize, second: usize) -> usize {
    let arguments = [code, first, second, 0, 0, 0];
    let mut result = 0usize;
    // SAFETY: the rotations add up to 128 bits, and the exchange changes nothing. Valgrind knows the
    // sequence, reads the arguments and leaves a result in rdx; it changes no memory of the program.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            inout("rdi") 0usize => _,
            in("rax") arguments.as_ptr(),
            inout("rdx") result,
            options(nostack),
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: usize, _: usize, _: usize) -> usize {
    0
}
