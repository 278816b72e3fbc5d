# frozen_string_literal: true

# em-websocket (Debian: ruby-em-websocket), which serves RFC 6455 and the drafts, 02 among them.
#
#     server.rb echo | broadcast      prints "listening on ADDRESS:PORT"

require 'em-websocket'

work = ARGV[0]
abort 'one argument is needed, echo or broadcast' unless %w[echo broadcast].include?(work)

ROOMS = Hash.new { |rooms, path| rooms[path] = {} }

def others(room, connection)
  room.each_key { |other| yield other unless other.equal?(connection) }
end

def join(connection, path)
  room = ROOMS[path]
  room[connection] = true
  connection.onmessage { |message| others(room, connection) { |other| other.send_text(message) } }
  connection.onbinary { |message| others(room, connection) { |other| other.send_binary(message) } }
  connection.onclose { room.delete(connection) }
end

EventMachine.epoll
EventMachine.set_descriptor_table_size(Process.getrlimit(:NOFILE).first)
EventMachine.run do
  signature = EventMachine.start_server('127.0.0.1', 0, EventMachine::WebSocket::Connection,
                                        {}) do |connection|
    connection.set_sock_opt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, true)
    connection.max_frame_size = 64 << 20
    connection.onerror { |_| }
    if work == 'broadcast'
      connection.onopen { |handshake| join(connection, handshake.path) }
    else
      connection.onmessage { |message| connection.send_text(message) }
      connection.onbinary { |message| connection.send_binary(message) }
    end
  end
  port, host = Socket.unpack_sockaddr_in(EventMachine.get_sockname(signature))
  Signal.trap('TERM') { exit!(0) }
  $stdout.puts "listening on #{host}:#{port}"
  $stdout.flush
end
