#!/usr/bin/env ruby
# frozen_string_literal: true

# A client on the gem `websocket` (Debian: ruby-websocket 1.2.9), a foreign implementation, against
# an echo server: messages of every length form, a ping, the closing handshake.
#
#     ws_client.rb ws://127.0.0.1:PORT/
#
# Where the gem differs from the draft (all read in its sources, and seen):
# - the version given is what it sends as Sec-WebSocket-Draft, so the handshake is made with 2; but
#   its *frames* of version 2 are the sentinel frames of draft 00, so the frames are made with 3,
#   which is the framing of drafts 01 to 03;
# - it sends its fields in a fixed order, not a random one;
# - it compares the whole rest of what it was given with the challenge's answer, so it must get the
#   16 bytes and nothing behind them; it strips white space off both sides of that comparison;
# - it checks neither the location nor the origin of the answer: we do;
# - of an eight-byte length it reads the low 32 bits; control frames above 125 bytes and text that
#   is no UTF-8 are errors to it; it ignores RSV4; it cannot send fragments.

begin
  require 'websocket'
rescue LoadError
  warn 'the gem websocket is not installed'
  exit 77
end
require 'socket'
require 'timeout'
require 'uri'

HANDSHAKE_VERSION = 2
FRAME_VERSION = 3
ORIGIN = 'http://ruby.example'
WebSocket.should_raise = true

# One connection: the gem's handshake and frames over a plain socket.
class Connection
  def initialize(url)
    uri = URI.parse(url)
    @socket = TCPSocket.new(uri.host, uri.port)
    @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    handshake = WebSocket::Handshake::Client.new(url: url, origin: ORIGIN,
                                                 version: HANDSHAKE_VERSION)
    @socket.write(handshake.to_s)
    handshake << (read_head + @socket.read(16).to_s)
    raise "refused: #{handshake.error}" unless handshake.finished? && handshake.valid?

    check_field(handshake, 'sec-websocket-origin', ORIGIN)
    check_field(handshake, 'sec-websocket-location', handshake.uri)
    @incoming = WebSocket::Frame::Incoming::Client.new(version: FRAME_VERSION)
  end

  def send(type, data = '')
    frame = WebSocket::Frame::Outgoing::Client.new(version: FRAME_VERSION, type: type, data: data)
    @socket.write(frame.to_s)
  end

  # The next message or control frame, as its kind and its bytes; nil at the end.
  def receive
    until (frame = @incoming.next)
      begin
        @incoming << @socket.readpartial(1 << 18)
      rescue EOFError
        return nil
      end
    end
    [frame.type, frame.to_s.b]
  end

  def expect(type, data)
    got = receive
    return if got == [type, data.b]

    raise "got #{got.nil? ? 'the end' : "#{got[0]} of #{got[1].bytesize} bytes"}, " \
          "not #{type} of #{data.bytesize} bytes"
  end

  def expect_end
    got = receive
    raise "got #{got[0]}, not the end" unless got.nil?

    @socket.close
  end

  private

  # Up to and with the blank line, so that the 16 bytes and the frames stay in the socket.
  def read_head
    head = String.new
    head << (@socket.gets("\r\n") || raise('closed inside the handshake')) until
      head.end_with?("\r\n\r\n")
    head
  end

  def check_field(handshake, name, value)
    got = handshake.headers[name]
    raise "#{name} is #{got.inspect}, not #{value}" unless got == value
  end
end

url = ARGV.fetch(0) { abort 'usage: ws_client.rb ws://HOST:PORT/RESOURCE' }

STEPS = {
  'text of every length form' => lambda do |connection|
    [0, 1, 125, 126, 65_535, 65_536, 1 << 20].each do |size|
      text = 'a' * size
      connection.send(:text, text)
      connection.expect(:text, text)
    end
  end,
  'text beyond ASCII' => lambda do |connection|
    connection.send(:text, 'κόσμε 漢字 😀')
    connection.expect(:text, 'κόσμε 漢字 😀')
  end,
  'binary of every length form' => lambda do |connection|
    [0, 1, 125, 126, 65_535, 65_536, 1 << 20].each do |size|
      bytes = Random.new(size).bytes(size)
      connection.send(:binary, bytes)
      connection.expect(:binary, bytes)
    end
  end,
  'ping' => lambda do |connection|
    connection.send(:ping, 'Hello')
    connection.expect(:pong, 'Hello')
  end,
  'messages without waiting' => lambda do |connection|
    100.times { |number| connection.send(:text, number.to_s) }
    100.times { |number| connection.expect(:text, number.to_s) }
  end,
  'close' => lambda do |connection|
    connection.send(:close, 'bye')
    connection.expect(:close, 'bye')
    connection.expect_end
  end
}.freeze

begin
  # Many handshakes: the keys are random.
  Timeout.timeout(60) do
    50.times do
      connection = Connection.new(url)
      STEPS.fetch('close').call(connection)
    end
    puts 'fifty handshakes ... ok'
    connection = Connection.new(url)
    STEPS.each do |name, step|
      step.call(connection)
      puts "#{name} ... ok"
    rescue StandardError
      puts "#{name} ... FAILED"
      raise
    end
  end
rescue StandardError => e
  warn "#{e.class}: #{e.message}"
  exit 1
end
