//! `xtask-wasm MODULE FOLDER`: writes the Worker's JavaScript (`index.js`) and its module without wasm-bindgen's
//! descriptions (`index_bg.wasm`) to the folder.

use std::path::PathBuf;

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [module, folder] = paths.as_slice() else { bail!("usage: xtask-wasm MODULE FOLDER") };
    Bindgen::new()
        // An ES module that imports the compiled wasm module.
        .module(true)?
        .input_path(module)
        .out_name("index")
        .typescript(false)
        // `edge/entry.js` reinitializes the module after a panic or a trap.
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate(folder)
}
