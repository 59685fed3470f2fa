// The only file that reaches into kafkajs. What Headrace takes from it: sockets, TLS and SASL, framing, and the encoding
// of every request and record. What it does not take, because it cannot be made safe from outside (each reason stands
// where its replacement is): the producer, the consumer with its runner, the cluster's metadata, the parsing of answers.
import Broker from 'kafkajs/src/broker/index.js'
import oauthBearerProvider from 'kafkajs/src/broker/saslAuthenticator/oauthBearer.js'
import plainProvider from 'kafkajs/src/broker/saslAuthenticator/plain.js'
import scram256Provider from 'kafkajs/src/broker/saslAuthenticator/scram256.js'
import scram512Provider from 'kafkajs/src/broker/saslAuthenticator/scram512.js'
import assignerProtocol from 'kafkajs/src/consumer/assignerProtocol.js'
import loggers from 'kafkajs/src/loggers/index.js'
import ConnectionPool from 'kafkajs/src/network/connectionPool.js'
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js'
import Decoder from 'kafkajs/src/protocol/decoder.js'
import protocolError from 'kafkajs/src/protocol/error.js'
import decodeRecordBatch from 'kafkajs/src/protocol/recordBatch/v0/decoder.js'
import apiKeys from 'kafkajs/src/protocol/requests/apiKeys.js'
import requestDefinitions from 'kafkajs/src/protocol/requests/index.js'

export {
  apiKeys,
  assignerProtocol,
  Broker,
  ConnectionPool,
  Decoder,
  decodeRecordBatch,
  loggers,
  oauthBearerProvider,
  plainProvider,
  protocolError,
  requestDefinitions,
  RequestQueue,
  scram256Provider,
  scram512Provider,
}
