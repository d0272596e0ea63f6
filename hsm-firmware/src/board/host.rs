//! In-process board.
