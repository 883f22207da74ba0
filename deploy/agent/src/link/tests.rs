//! A proxy before a server that sends everything back.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
    time::sleep,
};

use super::{carry::QUEUE_BYTES, *};

/// Long enough to say that nothing comes.
const SILENCE: Duration = Duration::from_millis(100);

/// A proxy before a server that sends everything back.
async fn echo() -> (Links, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let links = Links::start().unwrap();
    let link = links.open("127.0.0.1:0".parse().unwrap(), target).unwrap();
    (links, link)
}

async fn connect(link: &Link) -> TcpStream {
    TcpStream::connect(link.address()).await.unwrap()
}

/// Sends, and takes as much back; how long that took.
async fn there_and_back(stream: &mut TcpStream, length: usize) -> io::Result<Duration> {
    let begun = Instant::now();
    let sent: Vec<u8> = (0..=250).cycle().take(length).collect();
    let mut received = vec![0; length];
    let (mut from, mut to) = stream.split();
    tokio::try_join!(to.write_all(&sent), from.read_exact(&mut received))?;
    assert!(sent == received, "bytes were changed on the way");
    Ok(begun.elapsed())
}

#[tokio::test]
async fn undisturbed_it_carries_everything_and_the_end() {
    let (links, link) = echo().await;
    let mut stream = connect(&link).await;
    there_and_back(&mut stream, 3 * QUEUE_BYTES).await.unwrap();
    assert_eq!(link.connections(), 1);
    stream.shutdown().await.unwrap();
    assert_eq!(
        stream.read(&mut [0; 1]).await.unwrap(),
        0,
        "the end comes back"
    );
    while link.connections() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(links.cpu_us().await.unwrap() > 0);
}

#[tokio::test]
async fn a_delay_is_felt_at_once_in_the_direction_that_is_meant() {
    let (_links, link) = echo().await;
    let mut stream = connect(&link).await;
    there_and_back(&mut stream, 10).await.unwrap();
    let by = Duration::from_millis(40);
    for (direction, least) in [
        (Direction::There, by),
        (Direction::Back, by),
        (Direction::Both, 2 * by),
    ] {
        link.disturb(Disturbance::Delay { by, direction });
        let took = there_and_back(&mut stream, 10).await.unwrap();
        assert!(took >= least, "{direction:?}: {took:?}");
    }
    link.heal();
    there_and_back(&mut stream, 10).await.unwrap();
}

#[tokio::test]
async fn a_bandwidth_is_kept_to_and_loses_nothing() {
    let (_links, link) = echo().await;
    let mut stream = connect(&link).await;
    link.disturb(Disturbance::Bandwidth {
        bytes_per_s: 200_000,
        direction: Direction::Back,
    });
    let took = there_and_back(&mut stream, 40_000).await.unwrap();
    assert!(took >= Duration::from_millis(195), "{took:?}");
    // More than any queue: back-pressure must not become a deadlock when the link is well again.
    link.heal();
    there_and_back(&mut stream, 4 * QUEUE_BYTES).await.unwrap();
}

#[tokio::test]
async fn a_reset_breaks_living_connections_and_new_ones() {
    let (_links, link) = echo().await;
    let mut living = connect(&link).await;
    there_and_back(&mut living, 10).await.unwrap();
    link.disturb(Disturbance::Reset);
    let error = living.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // The reset may come before the client has noticed that it is connected.
    let error = match TcpStream::connect(link.address()).await {
        Ok(mut new) => new.read(&mut [0; 1]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    link.heal();
    there_and_back(&mut connect(&link).await, 10).await.unwrap();
}

#[tokio::test]
async fn a_black_hole_swallows_nothing_for_ever() {
    let (_links, link) = echo().await;
    let mut living = connect(&link).await;
    there_and_back(&mut living, 10).await.unwrap();
    for direction in [Direction::There, Direction::Back, Direction::Both] {
        link.disturb(Disturbance::Blackhole { direction });
        let mut new = connect(&link).await;
        let both = async {
            tokio::select! {
                _ = there_and_back(&mut living, 20) => "the living one",
                _ = there_and_back(&mut new, 20) => "the new one",
            }
        };
        let through = timeout(SILENCE, both).await;
        assert!(through.is_err(), "{direction:?}: {through:?} came through");
        link.heal();
        // What was sent arrives late, and nothing else.
        for stream in [&mut living, &mut new] {
            stream.read_exact(&mut [0; 20]).await.unwrap();
        }
        there_and_back(&mut living, 30).await.unwrap();
    }
}

#[tokio::test]
async fn who_leaves_a_black_hole_was_never_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let links = Links::start().unwrap();
    let target = listener.local_addr().unwrap();
    let link = links.open("127.0.0.1:0".parse().unwrap(), target).unwrap();
    link.disturb(Disturbance::Blackhole {
        direction: Direction::Both,
    });
    let mut left = connect(&link).await;
    left.write_all(b"left").await.unwrap();
    drop(left);
    let mut stayed = connect(&link).await;
    stayed.write_all(b"stay").await.unwrap();
    while link.connections() < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    // By then the thread has looked at both.
    for _ in 0..2 {
        links.cpu_us().await.unwrap();
    }
    link.heal();
    let (mut first, _) = listener.accept().await.unwrap();
    let mut said = [0; 4];
    first.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"stay");
}

#[tokio::test]
async fn a_dead_target_is_a_reset() {
    let (_links, link) = echo().await;
    let dead = Links::start().unwrap();
    let target = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let nowhere = dead.open("127.0.0.1:0".parse().unwrap(), target).unwrap();
    let error = match TcpStream::connect(nowhere.address()).await {
        Ok(mut stream) => stream.read(&mut [0; 1]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // And dropping the thread closes everything that runs on it.
    drop(dead);
    assert!(TcpStream::connect(nowhere.address()).await.is_err());
    drop(link);
}
