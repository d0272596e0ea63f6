// The Encryption SDK's decoder of DER wants the `Buffer` of Node.js, which a page does not have.
export { Buffer } from 'buffer'
