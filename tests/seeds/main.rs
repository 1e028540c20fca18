//! The systems that tiergate comes from: what their documents promise, sentence by sentence, on the presets that come with the program, a
//! module per system.

#[path = "../support/mod.rs"]
mod support;

mod all_presets;
mod amvstrm;
mod anilist;
mod bags;
mod preset_queue;
mod queue_table;
mod quota_table;
mod shotit;
mod trace_moe;
mod visitor;
