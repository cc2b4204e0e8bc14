//! The whole story: an operator compiles a network, a client encrypts an image, a server classifies what it cannot see.
//! `cargo run --release -p umbra --example classify`

use std::{error::Error, ops::ControlFlow::Continue, path::Path};

use umbra::client::Client;
use umbra::compiler::{CompileOptions, compile};
use umbra::model::Graph;
use umbra::server::Server;
use umbra::wire::{ClientFile, Encrypted, LoadedProgram, Role};

/// The class of an image; what the parties exchange is in `folder`.
pub fn classify(network: &Graph, image: &[u8], folder: &Path) -> Result<String, Box<dyn Error>> {
    let path = |name: &str| folder.join(name);
    // The operator: a program for the server, a client file without weights for clients.
    let program = LoadedProgram::new(compile(network, &CompileOptions::default())?)?;
    program.client().save(&path("net.client"))?;

    // The client: a secret key, which stays; evaluation keys and an encrypted image for the server.
    let client = Client::generate(&ClientFile::open(&path("net.client"))?)?;
    client.save_evaluation_keys(&path("eval.key"), &mut |_, _| Continue(()))?;
    client.encrypt_to(&path("image.ct"), &[client.file().spec().image.normalise(image)?])?;

    // The server: sees neither image nor class.
    let server = Server::new(&program)?;
    let keys = server.open_keys(&path("eval.key"))?;
    let input = Encrypted::open(&path("image.ct"), program.client(), Role::Input)?;
    let result = server.infer(&keys, &input, &mut |_| Continue(()))?;
    // The client again.
    let prediction = client.predict(&result)?.remove(0)?;
    Ok(client.file().spec().class(prediction.class).into_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let network = umbra::network::shipped()?;
    let image = umbra::samples::sample("ship", network.input())?;
    println!("{}", classify(&network, image.bytes(), tempfile::tempdir()?.path())?);
    Ok(())
}
