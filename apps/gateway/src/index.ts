export { type GatewayConfig, parseGatewayConfig } from './config.ts'
export { startGateway, type StartGateway } from './gateway.ts'
export { main } from './main.ts'
