#!/usr/bin/env ruby
# frozen_string_literal: true

# An echo server on em-websocket (Debian: ruby-em-websocket 0.5.1), a foreign implementation that
# serves `Sec-WebSocket-Draft: 1` to `3` with the framing of drafts 01 to 03.
#
# Prints `listening on 127.0.0.1:PORT` once it accepts; SIGTERM ends it with exit code 0.
#
# Where it differs from what we ask of a server (all read in its sources, and seen):
# - it reads the low 32 bits of an eight-byte length only, and no bit above them is an error;
# - it ignores RSV1 to RSV4;
# - a fragmented control frame is appended to the open message;
# - a data frame that is whole is delivered even inside an open message;
# - bytes behind key_3 make it refuse the handshake ("Extra bytes after third key");
# - key_3 in a segment of its own may be read as a next request ("Must be GET request"): a client
#   must send it together with the fields;
# - a key without a digit counts as 0;
# - the location repeats the Host field as it came, upper case included;
# - it sends a Close before it ends a connection over a broken frame;
# - `Connection` is judged by the HTTP parser below it: any value that holds "upgrade".

begin
  require 'em-websocket'
rescue LoadError
  warn 'em-websocket is not installed'
  exit 77
end

EventMachine.epoll
EventMachine.run do
  signature = EventMachine.start_server('127.0.0.1', Integer(ARGV.fetch(0, '0')),
                                        EventMachine::WebSocket::Connection, {}) do |connection|
    connection.max_frame_size = 64 << 20
    connection.onmessage { |message| connection.send_text(message) }
    connection.onbinary { |message| connection.send_binary(message) }
    connection.onerror { |error| warn "closing: #{error.message}" }
  end
  port, host = Socket.unpack_sockaddr_in(EventMachine.get_sockname(signature))
  # Only a flag may be set inside a signal handler; the timer sees it.
  ended = false
  %w[TERM INT].each { |name| Signal.trap(name) { ended = true } }
  EventMachine.add_periodic_timer(0.05) { EventMachine.stop if ended }
  $stdout.puts "listening on #{host}:#{port}"
  $stdout.flush
end
