//! The server's side: what is refused before any work, what cancelling leaves, and that results are right.

use std::ops::ControlFlow;

use umbra_client::Client;
use umbra_program::testing::{IMAGE, tiny, tiny_logits};
use umbra_program::{Operation, Program};
use umbra_server::{Server, ServerError};
use umbra_wire::{Ciphertext, Encrypted, LoadedProgram, MemoryKeys, Role};

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

/// The tiny program with so much added to slots without logit.
fn flooded(flooding: f64) -> Program {
    let mut program = tiny();
    program.client.output.flooding = flooding;
    program.client.logit_range = None;
    program
}

fn parties_of(program: Program) -> Parties {
    let program = LoadedProgram::new(program).expect("a program");
    let server = Server::new(&program).expect("a server");
    let client = Client::generate(program.client()).expect("a client");
    let keys = keys_of(&client, &server);
    Parties { client, server, keys }
}

fn infer(parties: &Parties, input: &Encrypted) -> Encrypted {
    parties.server.infer(&parties.keys, input, &mut |_| ControlFlow::Continue(())).expect("a result")
}

#[test]
fn slots_without_logit_are_flooded_and_logits_are_not() {
    let parties = parties_of(flooded(0.5));
    let input = encrypted(&parties.client);
    let result = infer(&parties, &input);
    assert_eq!(infer(&parties, &input), result, "the same bits");
    let slots = parties.client.danger_slots(&result).expect("slots").remove(0);
    let (first, logits) = slots.split_at(512);
    for ([found, _], expected) in first.iter().zip(tiny_logits(&IMAGE)) {
        assert!((found - expected).abs() < 1e-2, "{found}, expected {expected}");
    }
    let power = |values: &[[f64; 2]], part: usize| values.iter().map(|v| v[part] * v[part]).sum::<f64>() / 510.0;
    assert!((0.18..0.34).contains(&power(&first[2..], 0)), "{}", power(&first[2..], 0));
    // The same in every period, but for a 16th of a logit's error, which both parts have.
    let differences: Vec<[f64; 2]> = first[2..].iter().zip(&logits[2..]).map(|(a, b)| [a[0] - b[0], a[1]]).collect();
    let everywhere = (parties.client.file().spec().logit_error / 16.0).powi(2);
    for (part, times) in [(0, 2.0), (1, 1.0)] {
        let found = power(&differences, part) / (times * everywhere);
        assert!((0.5..2.0).contains(&found), "{found}");
    }
    // Other images, and other weights, get other values.
    let again = parties.client.danger_slots(&infer(&parties, &encrypted(&parties.client))).expect("slots").remove(0);
    assert!(again[2..512].iter().zip(&first[2..]).any(|(a, b)| (a[0] - b[0]).abs() > 0.5));
    let mut other = flooded(0.5);
    let Operation::Linear(linear) = &mut other.steps[2].operation else { panic!("linear") };
    linear.bias[0][0] += 1e-9;
    let other = Server::new(&LoadedProgram::new(other).expect("a program")).expect("a server");
    let result = other.infer(&parties.keys, &input, &mut |_| ControlFlow::Continue(())).expect("a result");
    let slots = parties.client.danger_slots(&result).expect("slots").remove(0);
    assert!(slots[2..512].iter().zip(&first[2..]).any(|(a, b)| (a[0] - b[0]).abs() > 0.5));
}

#[test]
fn corrupted_and_overflowed_results_are_refused_under_flooding_too() {
    let parties = parties_of(flooded(0.5));
    let result = infer(&parties, &encrypted(&parties.client));
    assert!(parties.client.predict(&result).expect("a result")[0].is_ok());
    for at in [0, 5000, 9000] {
        let ciphertext = &result.ciphertexts[0];
        let mut words = ciphertext.words().to_vec();
        words[at] ^= 1 << 9;
        let (parameters, key_set) = (ciphertext.parameters(), ciphertext.key_set());
        let changed = Ciphertext::from_words(parameters, key_set, ciphertext.level(), ciphertext.scale(), &words);
        let changed = Encrypted { images: 1, ciphertexts: vec![changed.expect("residues in range")] };
        let refused = match parties.client.predict(&changed) {
            Err(_) => true,
            Ok(images) => images[0].is_err(),
        };
        assert!(refused, "word {at}");
    }
    // Sums beyond the modulus.
    let large = parties.client.encrypt(&[[3e6f32; 4]]).expect("an image").expand();
    let refused = parties.client.predict(&infer(&parties, &large)).expect_err("an overflow").to_string();
    assert!(refused.contains("slots that must be zero") && refused.contains("limit 8.000"), "{refused}");
}
