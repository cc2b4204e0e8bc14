//! The server's side: what is refused before any work, what cancelling leaves, and that results are right.

use std::ops::ControlFlow;

use umbra_client::Client;
use umbra_program::testing::{IMAGE, tiny, tiny_logits};
use umbra_server::{Server, ServerError};
use umbra_wire::{Encrypted, LoadedProgram, MemoryKeys, Role};

struct Parties {
    client: Client,
    server: Server,
    keys: MemoryKeys,
}

fn keys_of(client: &Client, server: &Server) -> MemoryKeys {
    let bytes = client.write_evaluation_keys(Vec::new(), &mut |_, _| ControlFlow::Continue(())).expect("keys");
    server.read_keys(&bytes[..]).expect("all keys")
}

fn parties() -> Parties {
    let program = LoadedProgram::new(tiny()).expect("a program");
    let server = Server::new(&program).expect("a server");
    let client = Client::generate(program.client()).expect("a client");
    let keys = keys_of(&client, &server);
    Parties { client, server, keys }
}

fn encrypted(client: &Client) -> Encrypted {
    let bytes = client.encrypt(&[IMAGE]).expect("an image").encode(client.file()).expect("bytes");
    Encrypted::read(&bytes[..], client.file(), Role::Input).expect("an image")
}

#[test]
fn a_result_is_what_the_program_computes() {
    let Parties { client, server, keys } = parties();
    let mut steps = Vec::new();
    let mut progress = |step: &umbra_server::StepReport<'_>| {
        steps.push((step.index, step.operation));
        ControlFlow::Continue(())
    };
    let result = server.infer(&keys, &encrypted(&client), &mut progress).expect("a result");
    assert_eq!(steps, [(0, "rotate-sum"), (1, "rotate-sum"), (2, "linear")]);
    let bytes = result.encode(client.file()).expect("bytes");
    let result = Encrypted::read(&bytes[..], client.file(), Role::Output).expect("a result");
    let predictions = client.predict(&result).expect("a result");
    let [Ok(prediction)] = &predictions[..] else { panic!("{predictions:?}") };
    for (found, expected) in prediction.logits[0].iter().zip(tiny_logits(&IMAGE)) {
        assert!((found - expected).abs() < 1e-2, "{found}, expected {expected}");
    }
    assert_eq!(prediction.class, 0);
}

#[test]
fn another_key_set_is_refused_before_any_step() {
    let Parties { client, server, keys } = parties();
    let stranger = Client::generate(client.file()).expect("a client");
    let mut steps = 0;
    let mut progress = |_: &umbra_server::StepReport<'_>| {
        steps += 1;
        ControlFlow::Continue(())
    };
    let error = server.infer(&keys, &encrypted(&stranger), &mut progress).expect_err("a stranger's image");
    assert_eq!(steps, 0);
    let text = error.to_string();
    assert!(text.contains(&client.key_set().to_string()) && text.contains(&stranger.key_set().to_string()), "{text}");
    assert!(!error.is_cancelled());
}

#[test]
fn inference_stops_when_told_and_can_start_again() {
    let Parties { client, server, keys } = parties();
    let input = encrypted(&client);
    let whole = server.infer(&keys, &input, &mut |_| ControlFlow::Continue(())).expect("a result");
    for last in 0..3 {
        let mut stop = |step: &umbra_server::StepReport<'_>| {
            if step.index == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match server.infer(&keys, &input, &mut stop) {
            Err(error @ ServerError::Runtime(_)) => assert!(error.is_cancelled(), "{error}"),
            other => panic!("{other:?}"),
        }
        let again = server.infer(&keys, &input, &mut |_| ControlFlow::Continue(())).expect("a result");
        assert_eq!(again, whole, "the same bits");
    }
}

#[test]
fn keys_that_lack_one_are_refused_before_they_are_read() {
    let Parties { client, server, .. } = parties();
    let mut fewer = tiny();
    fewer.steps.remove(1);
    fewer.client.keys = fewer.key_set();
    let fewer = LoadedProgram::new(fewer).expect("a program of the same parameters");
    let poor = Client::generate(fewer.client()).expect("a client");
    let bytes = poor.write_evaluation_keys(Vec::new(), &mut |_, _| ControlFlow::Continue(())).expect("keys");
    let error = server.read_keys(&bytes[..]).expect_err("a key is missing").to_string();
    assert!(error.contains("is missing"), "{error}");
    // The other way round they serve.
    let bytes = client.write_evaluation_keys(Vec::new(), &mut |_, _| ControlFlow::Continue(())).expect("keys");
    Server::new(&fewer).expect("a server").read_keys(&bytes[..]).expect("more than enough");
    assert!(fewer.client().spec().accepts_keys_of(client.file().spec()));
    assert!(!client.file().spec().accepts_keys_of(fewer.client().spec()));
}
